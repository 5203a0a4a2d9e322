"""How to connect to the default database without Django: with psycopg alone, and with PostgreSQL's own programs."""

from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

# How libpq's list of parameters marks one that is to be shown as asterisks.
SECRET = b"*"


class ParameterSecret(Exception):
    """Other users of the machine could read a parameter if it were passed to a program; the message is one line."""


@dataclass(frozen=True, slots=True)
class ProgramParameters:
    """All parameters that libpq understands: as environment variables, and those that have none as `--dbname`."""

    environment: dict[str, str]
    dbname: str


def connection_parameters() -> dict[str, Any]:
    """What psycopg needs to reach the default database, for a connection outside of Django's own."""
    parameters = connections[DEFAULT_DB_ALIAS].get_connection_params()
    # With these, Django's own connections convert values in Django's way.
    del parameters["context"], parameters["cursor_factory"]
    return parameters


def program_parameters() -> ProgramParameters:
    """The same for `pg_dump` and its like. Raises ParameterSecret."""
    given = connection_parameters()
    environment, others = {}, {}
    for option in Conninfo.get_defaults():
        keyword = option.keyword.decode()
        if given.get(keyword) is None:
            continue
        if option.envvar is not None:
            environment[option.envvar.decode()] = str(given[keyword])
        elif option.dispchar == SECRET:
            raise ParameterSecret(f"{keyword} of DATABASE_URL cannot be passed on without other users of this machine seeing it")
        else:
            others[keyword] = given[keyword]
    return ProgramParameters(environment, make_conninfo(**others))
