"""Django's database sessions, which only accept keys as Django makes them: letters and digits.

PostgreSQL rejects text with a NUL, so looking up a forged cookie that has one would be a server error.
"""

from typing import Any

from django.contrib.sessions.backends import db

# As in Django.
SHORTEST_KEY = 8


class SessionStore(db.SessionStore):
    """Django looks for a class of this name here (SESSION_ENGINE)."""

    def _validate_session_key(self, key: Any) -> bool:
        return isinstance(key, str) and len(key) >= SHORTEST_KEY and key.isascii() and key.isalnum()
