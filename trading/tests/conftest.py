from orders.tests.conftest import accept, account, static_files_looked_for_when_asked_for

__all__ = ["accept", "account", "static_files_looked_for_when_asked_for"]
