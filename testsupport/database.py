"""The database of the tests."""

from django.db import connection


def database_url() -> str:
    """Of the database that this test uses, for another process."""
    return "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
