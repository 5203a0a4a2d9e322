"""Sessions in the database, as Django's own, whose keys are what Django makes: letters and digits.

PostgreSQL refuses to look for a NUL, so that a cookie which nobody ever got from us would be an error of ours.
"""

from typing import Any

from django.contrib.sessions.backends import db

# As in Django.
SHORTEST_KEY = 8


class SessionStore(db.SessionStore):
    """The name is Django's, which looks for it here (SESSION_ENGINE)."""

    def _validate_session_key(self, key: Any) -> bool:
        return isinstance(key, str) and len(key) >= SHORTEST_KEY and key.isascii() and key.isalnum()
