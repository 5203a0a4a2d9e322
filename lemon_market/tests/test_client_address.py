"""Whose address a request comes from, through proxies that are ours and past what clients say of themselves."""

from typing import Any

import pytest
from django.test import Client

from infrastructure import client_address, throttling
from lemon_market.doctor.backlog import clients
from lemon_market.doctor.finding import Level


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, [], "10.0.0.9"),
        (0, ["198.51.100.7"], "10.0.0.9"),
        (1, ["198.51.100.7"], "198.51.100.7"),
        (1, ["203.0.113.1, 198.51.100.7"], "198.51.100.7"),
        (1, ["203.0.113.1", "198.51.100.7"], "198.51.100.7"),
        (2, ["203.0.113.1, 198.51.100.7, 10.0.0.1"], "198.51.100.7"),
        (2, ["198.51.100.7"], "10.0.0.9"),
        (1, [], "10.0.0.9"),
        (1, ["nonsense"], "10.0.0.9"),
        (1, [""], "10.0.0.9"),
        (1, ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
        (1, ["::ffff:198.51.100.7"], "198.51.100.7"),
        (1, ["203.0.113.9:4711"], "203.0.113.9"),
        (1, ['"203.0.113.9:4711"'], "203.0.113.9"),
        (1, ["[2001:db8:1:2::1]:443"], "2001:db8:1:2::"),
        (1, ["[2001:db8:1:2::1]"], "2001:db8:1:2::"),
        (1, ['"[2001:db8:1:2::1]"'], "2001:db8:1:2::"),
        (1, ['"[2001:db8:1:2::1]:443"'], "2001:db8:1:2::"),
        (1, ["fe80::1%eth0"], "fe80::"),
        (1, ["junk, 203.0.113.1, 198.51.100.7:80"], "198.51.100.7"),
        (1, ['"203.0.113.1", "', "198.51.100.7"], "198.51.100.7"),
        (1, ["203.0.113.1, unknown"], "10.0.0.9"),
        (1, ["203.0.113.1, 198.51.100.7:port"], "10.0.0.9"),
        (1, ["203.0.113.1, [198.51.100.7"], "10.0.0.9"),
    ],
)
def test_only_as_many_proxies_as_are_ours_are_believed(settings: Any, proxies: int, forwarded: list[str], address: str) -> None:
    settings.TRUSTED_PROXIES = proxies
    assert client_address.client_address("10.0.0.9", forwarded) == address


def lines_about_unknown_clients(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if "client_address_unknown" in line]


@pytest.mark.django_db
@pytest.mark.parametrize("forwarded", ["203.0.113.1, unknown", None])
def test_clients_that_a_proxy_does_not_name_are_told_once_a_minute_and_to_doctor(
    settings: Any, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, forwarded: str | None
) -> None:
    settings.TRUSTED_PROXIES = 1
    clock = [1000.0]
    monkeypatch.setattr(client_address, "monotonic", lambda: clock[0])
    monkeypatch.setattr(throttling.counter, "counts", {})
    monkeypatch.setattr(client_address, "unknown_clients", client_address.UnknownClients())
    headers = {"REMOTE_ADDR": "192.0.2.77"} | ({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded})
    for _ in range(3):
        client.get("/login", **headers)  # type: ignore[arg-type]
    [line] = lines_about_unknown_clients(caplog)
    assert "192.0.2.77" in line
    clock[0] += 61
    client.get("/login", **headers)  # type: ignore[arg-type]
    assert len(lines_about_unknown_clients(caplog)) == 2
    [finding] = [finding for finding in clients() if "192.0.2.77" in finding.text]
    assert finding.level is Level.BAD


@pytest.mark.django_db
def test_clients_that_a_proxy_names_and_probes_without_one_are_nothing_to_tell(
    settings: Any, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    settings.TRUSTED_PROXIES = 1
    client.get("/login", REMOTE_ADDR="192.0.2.78", HTTP_X_FORWARDED_FOR="junk, 203.0.113.9:4711")
    client.get("/health/live", REMOTE_ADDR="192.0.2.78")
    assert not lines_about_unknown_clients(caplog)
    assert list(clients()) == []
