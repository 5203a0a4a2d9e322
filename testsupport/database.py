"""Gives other processes access to the test database."""

from django.db import connection


def database_url() -> str:
    """The URL of this test's database, for another process."""
    return "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
