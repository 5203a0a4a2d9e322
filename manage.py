#!/usr/bin/env python
"""Runs one of the project's commands; `manage.py help` lists them."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from devstack.local_install import LocalInstallError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")
    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, LocalInstallError) as error:
        if "--traceback" in sys.argv:
            raise
        # It is about the environment and not about the program, so a stack trace would only hide it.
        sys.exit(f"manage.py: {error}")


if __name__ == "__main__":
    main()
