"""Commands of manage.py as processes of their own."""

import os
import subprocess
import sys
from typing import Any

NOWHERE = "postgres://nobody@127.0.0.1:1/none"


def manage(*arguments: str, url: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": url}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, env=environment, text=True, timeout=30, check=False, **options)
