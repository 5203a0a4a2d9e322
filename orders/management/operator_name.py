"""The operating system's name for the person who runs a command."""

import getpass
import os


def operator_name() -> str:
    """The user that runs the command, for the events that it records."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container the user may have no name.
        return f"user {os.getuid()}"
