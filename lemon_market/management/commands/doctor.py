import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from lemon_market.doctor import Level, examine


class Command(BaseCommand):
    help = "Checks the whole installation and says what to do about problems; exit code 1 when something is bad."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON list instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = []
        for finding in examine():
            findings.append(finding)
            if not options["json"]:
                # Print each finding at once, since the next check may take a while.
                advice = f" - {finding.advice}" if finding.advice and finding.level is not Level.OK else ""
                self.stdout.write(f"{finding.level:<4}  {finding.name}: {finding.text}{advice}")
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings]))
        if any(finding.level is Level.BAD for finding in findings):
            sys.exit(1)
