"""The command line: `python -m chaos [--minutes 5] [--seed N] [--transport kafka]`."""

import argparse
import random
import secrets
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from chaos.disk import own_disk
from chaos.faults import RIGHT, WRONG, control, dealt, fault, missing_roles
from chaos.load import ACCOUNTS, Client
from chaos.verdict import Verdict, judge, unflagged, unseen_events
from devstack import embedded_kafka
from testsupport.installation import DATA_DIR
from testsupport.system import WATCHED, System, running_system
from testsupport.waiting import wait_until

# After every single fault the system must recover by itself within this time. After a restart of the Kafka broker, which some
# faults kill, consumer groups take half a minute on two busy processors to read again.
BACK_S = {"django_q": 30.0, "kafka": 60.0}
SETTLED_S = 240.0
PROBE = """
SELECT event_id FROM orders_orderevent WHERE order_id IN (
    SELECT id FROM orders_order WHERE client_order_id = '{id}'
    AND (execution_status IN ('filled', 'canceled', 'rejected') OR error_code = 'refused_by_exchange')
)"""


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - for the person at the terminal


class Trial:
    """One run: load, one fault after another, and a final check of everything."""

    def __init__(self, system: System, seed: int) -> None:
        self.system = system
        self.chance = random.Random(seed)  # noqa: S311 - a run must be repeatable
        self.faults = dealt(system.transport, self.chance)
        self.back_s = BACK_S[system.transport]
        tokens = {account: system.token(account) for account in sorted(set(ACCOUNTS))}
        self.clients = [
            Client(system, f"client-{number}", tokens[account], seed + number) for number, account in enumerate(ACCOUNTS)
        ]
        self.prober = Client(system, "probe", tokens[WATCHED], seed)
        self.late: list[str] = []

    def run(self, minutes: float) -> Verdict:
        with self.system.watched():
            return self.try_everything(minutes)

    def try_everything(self, minutes: float) -> Verdict:
        control(self.system, dict(WRONG))
        for client in self.clients:
            client.start()
        end = time.monotonic() + 60 * minutes
        slowest = (0.0, "nothing")
        number = 0
        while time.monotonic() < end:
            number += 1
            slowest = max(slowest, self.inflict(number))
        say(f"{number} faults; the slowest recovery took {slowest[0]:.1f} s: {slowest[1]}")
        self.come_to_rest()
        return judge(self.system, [*self.prober.answered, *(id for client in self.clients for id in client.answered)])

    def inflict(self, number: int) -> tuple[float, str]:
        """Inflict one fault, then probe until the system is back. Returns the seconds that took, and the fault's name."""
        next_one = fault(self.system, next(self.faults), self.chance)
        next_one.inflict()
        began, probe = time.monotonic(), f"probe-{number}"
        is_late = False
        while (lacking := self.lacking(probe)) is not None:
            if not is_late and time.monotonic() - began > self.back_s:
                is_late = True
                self.late.append(next_one.name)
                say(f"  {number:>3}  {next_one.name}: NOT BACK after {self.back_s:.0f} s: {lacking}")
            assert time.monotonic() - began < SETTLED_S, lacking
            time.sleep(0.1)
        took_s = time.monotonic() - began
        say(f"  {number:>3}  {next_one.name}: back after {took_s:.1f} s")
        # The exchange forgets its options when it is killed.
        with suppress(OSError):
            control(self.system, dict(WRONG))
        time.sleep(self.chance.uniform(0.0, 2.0))
        return took_s, next_one.name

    def lacking(self, probe: str) -> str | None:
        """What does not work yet; None once an order is accepted and settled, a client was told, and all processes run."""
        if probe not in self.prober.answered and not self.prober.try_to_place(probe, "AAPL_2025_03"):
            return "an order is not accepted"
        # The fault may have killed the database.
        with suppress(psycopg.Error):
            told = {row["event_id"] for row in self.system.query(PROBE.format(id=probe))}
            if not told:
                return "an order is accepted but neither filled nor refused"
            if not told <= set(self.system.seen_event_ids()):
                return "an order is filled but the watching client was not told"
            missing = missing_roles(self.system)
            return f"missing: {', '.join(missing)}" if missing else None
        return "the database cannot be reached"

    def come_to_rest(self) -> None:
        """Turn the exchange's faults off, stop the clients, and wait until everything under way has ended."""

        def behaves() -> bool:
            with suppress(OSError):
                control(self.system, {**RIGHT, "open": True})
                return True
            return False

        wait_until(behaves, within_s=self.back_s, what="the exchange is reachable")
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join()
        wait_until(self.system.is_settled, within_s=SETTLED_S, what="everything is settled")
        # An event that a client has not seen by the deadline counts as never sent, and a lie not flagged by then as never
        # noticed. Noticing one late causes a look-up.
        deadline = time.monotonic() + self.back_s
        while not self.is_at_rest() and time.monotonic() < deadline:
            time.sleep(0.5)

    def is_at_rest(self) -> bool:
        return not unflagged(self.system) and self.system.is_settled() and not unseen_events(self.system)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="decides which faults come, and when")
    parser.add_argument("--transport", choices=["django_q", "kafka"], default="django_q")
    options = parser.parse_args()
    if options.transport == "kafka" and not embedded_kafka.is_available():
        sys.exit(embedded_kafka.HOW_TO_GET_IT)
    say(f"{options.minutes:g} minutes on {options.transport}; repeat the same faults with --seed {options.seed}")
    # Retry failed attempts sooner than usual, so that a trial ends sooner.
    settings = {"PLACEMENT_RETRY_CAP": "5"}
    with (
        tempfile.TemporaryDirectory() as directory,
        own_disk(Path(directory) / DATA_DIR),
        running_system(Path(directory), options.transport, **settings) as system,
    ):
        trial = Trial(system, options.seed)
        try:
            verdict = trial.run(options.minutes)
        except AssertionError as error:
            sys.exit(f"The system did not come to rest: {error}\n{system.installation.output.read_text()[-3000:]}")
    say(f"{verdict}, not back in time {len(trial.late)}")
    sys.exit(not verdict.is_clean or bool(trial.late))


if __name__ == "__main__":
    main()
