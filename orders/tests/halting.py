"""Halts of a test."""

from typing import Any

from orders.models import Halt
from orders.risk.switches import halt_trading, resume_trading


def halt(**scope: Any) -> Halt:
    return halt_trading("dora", "odd prices", **scope)


def resume(**scope: Any) -> Halt:
    return resume_trading("dora", "explained", **scope)
