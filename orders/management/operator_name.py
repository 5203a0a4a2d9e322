"""Who gives a command, as the operating system knows them."""

import getpass
import os


def operator_name() -> str:
    """The name of the account that runs the command, for the events that it leaves."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container the user need not have a name.
        return f"user {os.getuid()}"
