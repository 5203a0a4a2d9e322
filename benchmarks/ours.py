"""Lemon Market as a contender, with the command lines of `manage.py up`."""

import json
import secrets
import sys

from benchmarks.children import run
from benchmarks.contenders import OURS, Contender
from benchmarks.stage import Stage
from devstack.free_ports import free_port
from devstack.local_install import POSTGRES_DATABASE

ACCOUNTS = 100
PREPARE_S = 120.0
TABLES = ("orders_order", "orders_orderevent", "orders_feedposition", "orders_deadletter", "django_q_ormq", "django_q_task")
PROGRESS = "SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'pending') FROM orders_order"


def lemon_market(stage: Stage, database: str = POSTGRES_DATABASE, *, is_emptied: bool = True) -> Contender:
    """Prepare Lemon Market with default settings; every request needs a token. Creates the database if necessary."""
    web_port, notifications_port = free_port(), free_port()
    environment = {
        "DATA_DIR": str(stage.data_dir),
        "DATABASE_URL": stage.database_url(database),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "127.0.0.1",
        "ANONYMOUS_ACCOUNT": "",
        "DEBUG": "",
        "HTTPS_ONLY": "false",
        "HOST": "127.0.0.1",
        "WEB_PORT": str(web_port),
        "NOTIFICATIONS_PORT": str(notifications_port),
        "EXCHANGE_PORT": str(stage.exchange_port),
        "EXCHANGE_URL": stage.exchange_url,
    }
    stage.make_database(database)
    command = [sys.executable, "-m", "benchmarks.prepare", str(ACCOUNTS)]
    prepared = json.loads(run(command, within_s=PREPARE_S, environment=environment))
    return Contender(
        name=OURS,
        database=database,
        web_port=web_port,
        notifications_port=notifications_port,
        services={name: [command] for name, command in prepared["services"].items()},
        environment=environment,
        tables=TABLES if is_emptied else (),
        progress=PROGRESS,
        tokens=prepared["tokens"],
        accounts=prepared["accounts"],
        session=prepared["session"],
    )
