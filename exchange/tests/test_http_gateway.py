"""HttpGateway against the simulated exchange: the contract of every gateway."""

import pytest

from exchange.tests.gateway_contract import GatewayContract
from exchange.tests.scenery import open_http_gateway


class TestHttpGateway(GatewayContract):
    @pytest.fixture
    def open_gateway(self):
        return open_http_gateway
