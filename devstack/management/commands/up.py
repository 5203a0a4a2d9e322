import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection, transaction
from django.db.migrations.loader import MigrationLoader

from devstack import embedded_kafka, local_install, processes, supervision
from devstack.embedded_postgres import Server
from devstack.local_install import LocalInstall, LocalInstallError
from devstack.postgres_programs import PostgresError
from infrastructure import addresses
from infrastructure.database.unavailable import one_line
from infrastructure.process_signals import STOP_SIGNALS

log = structlog.get_logger()

# The apps that have tables of ours.
OURS = {"infrastructure", "orders"}


class Command(BaseCommand):
    help = "Prepares the database, starts every process of Lemon Market, restarts one that dies, and stops all of them on Ctrl-C."

    def handle(self, *args: Any, **options: Any) -> None:
        for number in STOP_SIGNALS:
            # Exit cleanly, so that PostgreSQL is stopped on the way out.
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        try:
            install = local_install.load(settings.DATA_DIR)
            _be_the_only_one(settings.DATA_DIR)
            addresses.check()
            if settings.EMBEDDED_KAFKA and not embedded_kafka.is_available():
                raise CommandError(embedded_kafka.HOW_TO_GET_IT)
            self._prepare_database(install)
            configuration = settings.DATA_DIR / "supervisord.conf"
            configuration.write_text(processes.supervisor_configuration())
        except (LocalInstallError, PostgresError, addresses.AddressError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"DATA_DIR {settings.DATA_DIR} cannot be used: {error}") from error
        _become_supervisor(configuration)

    def _prepare_database(self, install: LocalInstall) -> None:
        server = None
        if settings.EMBEDDED_POSTGRES:
            install = local_install.load_with_free_port(settings.DATA_DIR)
            # The settings were read before the first start stored these, or before we found out that the port is taken.
            settings.DATABASES["default"] |= install.postgres_changes
            server = Server(settings.DATA_DIR)
        is_ready = False
        try:
            password_is_ours = _migrate_and_make_accounts(install.admin_password)
            is_ready = True
        except DatabaseError as error:
            raise CommandError(f"the database cannot be used: {one_line(error)}") from error
        finally:
            connection.close()
            if server is not None:
                server.stop(is_started_again=is_ready)
        self._announce(install.admin_password if password_is_ours else "(the one you have set)")

    def _announce(self, password: str) -> None:
        if settings.LOG_JSON:
            # Log collectors must not get the password; it is in DATA_DIR/local.json.
            log.info("starting", web=addresses.url(settings.WEB_PORT), exchange=settings.EXCHANGE_URL)
            return
        web = addresses.url(settings.WEB_PORT)
        lines = [
            f"Trading page {web}/",
            f"Back office  {web}/admin/  user admin, password {password}",
            f"API          {web}/orders, described at {web}/docs",
            f"Live events  {addresses.url(settings.NOTIFICATIONS_PORT).replace('http', 'ws', 1)}/ws/orders",
            f"Exchange     {settings.EXCHANGE_URL}{'  (simulated)' if settings.EXCHANGE_IS_SIMULATED else ''}",
        ]
        if settings.ORDER_TRANSPORT == "kafka":
            lines.append(f"Kafka        {settings.KAFKA_BOOTSTRAP_SERVERS}")
        if settings.ANONYMOUS_ACCOUNT:
            lines.insert(1, f"             without logging in you use the account {settings.ANONYMOUS_ACCOUNT}")
        self.stdout.write("\n".join(["Lemon Market is starting; Ctrl-C stops it.", *lines]))


def _be_the_only_one(data_dir: Path) -> None:
    """Hold a lock until this process, which will become the supervisor, ends."""
    lock = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CommandError(f"Lemon Market is running already with DATA_DIR {data_dir}") from None
    os.set_inheritable(lock, True)


def _migrate_and_make_accounts(admin_password: str) -> bool:
    """Bring the database up to date; return whether `admin_password` is the password of the account `admin`."""
    _refuse_tables_of_another_version()
    call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
    with transaction.atomic():
        _make_demo_account()
        return _make_administrator(admin_password)


def _refuse_tables_of_another_version() -> None:
    """Raise CommandError if the database has migrations unknown to this version, whose own would fail at the first table."""
    loader = MigrationLoader(connection)
    unknown = [
        f"{app}.{name}" for app, name in loader.applied_migrations if app in OURS and (app, name) not in loader.disk_migrations
    ]
    if unknown:
        raise CommandError(
            f"the database was created by another version of Lemon Market (it has {min(unknown)}): start with another DATA_DIR or"
            f" DATABASE_URL, or move {settings.DATA_DIR} away"
        )


def _make_demo_account() -> None:
    if settings.ANONYMOUS_ACCOUNT and not User.objects.filter(username=settings.ANONYMOUS_ACCOUNT).exists():
        # A user without a password cannot log in.
        User.objects.create_user(settings.ANONYMOUS_ACCOUNT)


def _make_administrator(password: str) -> bool:
    """Create the superuser `admin` at the first start; return whether `password` is still its password."""
    administrator = User.objects.filter(username="admin").first()
    if administrator is None:
        User.objects.create_superuser("admin", password=password)
        return True
    return administrator.check_password(password)


def _become_supervisor(configuration: Path) -> None:
    """Replace this process, which no longer needs Django. Stop signals wait until the supervisor can handle them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    sys.stdout.flush()
    os.chdir(settings.BASE_DIR)
    command = [sys.executable, "-m", "devstack.supervision", str(configuration)]
    # The children's lines appear as they are written, not when a buffer is full.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if settings.LOG_JSON:
        environment[supervision.LOG_JSON] = "true"
    os.execve(sys.executable, command, environment)
