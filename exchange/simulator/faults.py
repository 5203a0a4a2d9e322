"""How fast and how unreliable the simulated exchange is: the options of its command line and of its /control."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

CENTURY_S = 100 * 365 * 24 * 3600.0


class BadOption(ValueError):
    """An option is unknown, or its value has a wrong type or range; the text names it."""


def _rate(default: float, help_text: str) -> float:
    return field(default=default, metadata={"maximum": 1.0, "help": help_text + " (0 to 1)"})


def _seconds(default: float, help_text: str, maximum: float = 3600.0) -> float:
    return field(default=default, metadata={"maximum": maximum, "help": help_text + " (s)"})


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates are shares from 0 to 1. Times are seconds from 0 to 3600, but `clock_ahead` may be up to a century.

    One roll of the dice decides what happens to a placement, so that `unavailable_rate`, `refuse_rate`, `cut_rate` and
    `timeout_rate` are exact shares of all placements.
    """

    latency: float = _seconds(0.5, "time from receiving an order to acknowledging it")
    unavailable_rate: float = _rate(0.1, "share of placements answered 503, not taken")
    refuse_rate: float = _rate(0.0, "share of placements answered 422, not taken")
    cut_rate: float = _rate(0.0, "share of placements whose connection is cut, half of them after the order was taken")
    timeout_rate: float = _rate(0.0, "share of placements that are taken but never answered")
    look_up_failure_rate: float = _rate(0.0, "share of look-ups and cancel requests answered 500")
    reject_rate: float = _rate(0.0, "share of acknowledged orders that are rejected afterwards, by a report")
    early_report_rate: float = _rate(0.0, "share of placements whose first report is sent before the answer")
    repeat_rate: float = _rate(0.0, "share of reports that are sent twice")
    report_lie_rate: float = _rate(0.0, "share of fills and final reports that are followed by a report that is false")
    look_up_lie_rate: float = _rate(0.0, "share of orders whose look-ups are answered with a contradiction")
    magic_lie_rate: float = _rate(0.0, "share of these two rates that applies to magic instruments")
    delay: float = _seconds(0.0, "delay of every report on the feed")
    clock_ahead: float = _seconds(0.0, "how far ahead the occurred_at of new reports is", CENTURY_S)
    cancel_latency: float = _seconds(0.05, "time from a cancel request to its result")
    cancel_race_rate: float = _rate(0.0, "share of cancels that come too late because the order was filled just before")
    fill_interval: float = _seconds(0.2, "time between fills and between price changes; at most the latency")
    expire_after: float = _seconds(0.0, "time after which an acknowledged order that is still open expires; 0 means never")

    def changed(self, wishes: dict[str, Any]) -> "Faults":
        """The options with some of them replaced. Raises BadOption, and changes nothing, when one of them is wrong."""
        known = {one.name for one in fields(self)}
        for name in wishes:
            if name not in known:
                raise BadOption(f"{name}: there is no such option")
        return replace(self, **{name: check_option(name, value) for name, value in wishes.items()})

    def fill_interval_s(self) -> float:
        """Fills come at least as fast as the latency, so that an exchange without latency is as fast as possible."""
        return min(self.fill_interval, max(self.latency, 0.005))


def check_option(name: str, value: object) -> float:
    """Return the value as a number within the option's range; raises BadOption."""
    maximum = next(one.metadata["maximum"] for one in fields(Faults) if one.name == name)
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= maximum:  # type: ignore[arg-type,operator]
        raise BadOption(f"{name}: must be a number from 0 to {maximum:g}")
    return float(value)  # type: ignore[arg-type]


def add_fault_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a command line one argument for each option."""
    for one in fields(Faults):
        flag = "--" + one.name.replace("_", "-")
        text = f"{one.metadata['help']}; default {one.default}"
        parser.add_argument(flag, type=_argument_type(one.name), default=one.default, metavar="NUMBER", help=text)


def faults_from_arguments(arguments: dict[str, Any]) -> Faults:
    """The options that a parsed command line holds."""
    return Faults(**{one.name: arguments[one.name] for one in fields(Faults)})


def _argument_type(name: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            return check_option(name, float(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} ({error})") from error

    return parse
