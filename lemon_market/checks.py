"""System checks that refuse trial settings in a deployment: `manage.py check --deploy`."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from devstack import local_install

LIMITS = [
    "TRUSTED_PROXIES",
    "TOKEN_TTL",
    "TOKEN_CACHE_TTL",
    "ACCOUNT_REQUESTS_PER_SECOND",
    "ADDRESS_REQUESTS_PER_SECOND",
    "FAILED_LOGINS_PER_MINUTE",
]


@register(Tags.security, deploy=True)
def no_trial(**_: Any) -> list[CheckMessage]:
    """The defaults for trials must be replaced."""
    errors: list[CheckMessage] = []
    if settings.EMBEDDED_POSTGRES:
        errors.append(Error("The embedded PostgreSQL is for trials: set DATABASE_URL.", id="lemon_market.E001"))
    if settings.EMBEDDED_KAFKA:
        errors.append(Error("The embedded Kafka is for trials: set KAFKA_BOOTSTRAP_SERVERS.", id="lemon_market.E002"))
    if settings.EXCHANGE_IS_SIMULATED:
        errors.append(Error("The exchange is simulated: set EXCHANGE_URL.", id="lemon_market.E003"))
    if settings.DEBUG:
        errors.append(Error("DEBUG shows settings and stack traces to everybody.", id="lemon_market.E004"))
    if settings.SECRET_KEY_IS_GENERATED or is_generated(settings.SECRET_KEY):
        hint = "Each machine would generate a different one."
        errors.append(Error("SECRET_KEY is the one generated for a trial: set your own.", hint=hint, id="lemon_market.E005"))
    return errors


@register(Tags.security, deploy=True)
def behind_a_proxy(**_: Any) -> list[CheckMessage]:
    """Our processes speak plain HTTP: a proxy must handle TLS and slow clients."""
    return [Error(text, id=f"lemon_market.{id}") for id, text in proxy_problems()]


def proxy_problems() -> Iterator[tuple[str, str]]:
    if settings.HOST not in {"localhost", ""} and is_every_address(settings.HOST):
        yield "E006", f"HOST {settings.HOST} offers plain HTTP on all addresses: use the one that the proxy connects to."
    if not settings.HTTPS_ONLY:
        yield "E007", "HTTPS_ONLY is off: passwords, tokens and sessions can be read in transit."
    if settings.TRUSTED_PROXIES < 1:
        yield "E008", "TRUSTED_PROXIES is 0: all clients would have the proxy's address, and no request would count as HTTPS."
    if not settings.NOTIFICATIONS_URL.startswith("wss://"):
        yield "E009", "NOTIFICATIONS_URL must be a wss:// address: pages served over HTTPS may not connect to any other."
    if "*" in settings.ALLOWED_HOSTS:
        yield "E010", "ALLOWED_HOSTS allows every name, so links and origins can be forged."


def is_every_address(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def is_generated(key: str) -> bool:
    """Whether the key is that of the trial installation under DATA_DIR, if there is one."""
    try:
        return local_install.read_or_invent(settings.DATA_DIR).secret_key == key
    except local_install.LocalInstallError:
        return False


@register
def limits(**_: Any) -> list[CheckMessage]:
    return [Error(f"{name} must not be below 0.", id="lemon_market.E011") for name in LIMITS if getattr(settings, name) < 0]
