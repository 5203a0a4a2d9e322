"""Every setting of Lemon Market; `.env.example` lists and explains those that come from the environment."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from devstack import local_install
from infrastructure import logs

BASE_DIR = Path(__file__).resolve().parent.parent


class NamingEnv(environ.Env):
    """Names the variable in the error about a value of the wrong kind."""

    def get_value(self, var: str, *args: Any, **options: Any) -> Any:
        try:
            return super().get_value(var, *args, **options)
        except ValueError as error:
            raise ImproperlyConfigured(f"{var} has a value of the wrong kind: {error}") from error


env = NamingEnv()
env.read_env(BASE_DIR / ".env")

DATA_DIR = (BASE_DIR / env.str("DATA_DIR", ".local")).resolve()
# Where this machine keeps backups, and the seconds after which doctor considers the newest one too old.
BACKUP_DIR = (BASE_DIR / env.str("BACKUP_DIR", "")).resolve() if env.str("BACKUP_DIR", "") else None
BACKUP_MAX_AGE = env.float("BACKUP_MAX_AGE", 4 * 3600.0)
DEBUG = env.bool("DEBUG", False)
DATABASE_URL = env.str("DATABASE_URL", "")
EMBEDDED_POSTGRES = not DATABASE_URL
ANONYMOUS_ACCOUNT = env.str("ANONYMOUS_ACCOUNT", "")

IS_TRIAL = bool(EMBEDDED_POSTGRES or DEBUG or ANONYMOUS_ACCOUNT)

# With the embedded PostgreSQL, `manage.py up` generates one at its first start and keeps it for all processes.
SECRET_KEY = env.str("SECRET_KEY", "")
SECRET_KEY_IS_GENERATED = not SECRET_KEY
if SECRET_KEY_IS_GENERATED:
    if not EMBEDDED_POSTGRES:
        raise ImproperlyConfigured("SECRET_KEY is not set: put 50 or more random characters into the environment or .env")
    SECRET_KEY = local_install.read_or_invent(DATA_DIR).secret_key

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"] if EMBEDDED_POSTGRES or DEBUG else [])

# How many of our own proxies a request passes; only what they say about the client is believed.
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0)
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Plain HTTP is redirected, except for probes, and cookies are sent over HTTPS only.
HTTPS_ONLY = env.bool("HTTPS_ONLY", not IS_TRIAL)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS_ONLY
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# Addresses of the processes that `manage.py up` starts.
HOST = env.str("HOST", "127.0.0.1")
WEB_PORT = env.int("WEB_PORT", 8000)
# How many processes answer HTTP, and the threads of each. In each process one thread at a time stores the orders of all
# (orders/order_entry/group_commit.py), so additional threads would only wait.
WEB_PROCESSES, WEB_THREADS = 2, 16
NOTIFICATIONS_PORT = env.int("NOTIFICATIONS_PORT", 8001)
EXCHANGE_PORT = env.int("EXCHANGE_PORT", 8100)

# orders comes before django_q, so that its `qcluster` command is found first and replaces theirs.
INSTALLED_APPS = [
    "lemon_market",
    "notifications",
    "trading",
    "orders",
    "exchange",
    "devstack",
    "infrastructure",
    # Before the admin, whose templates and site it replaces.
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "axes",
]
MIDDLEWARE = [
    "lemon_market.middleware.RequestMiddleware",
    "lemon_market.headers.SecurityHeadersMiddleware",
    "lemon_market.middleware.DatabaseUnavailableMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "infrastructure.throttling.AddressThrottleMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "lemon_market.middleware.NamedHostMiddleware",
    "lemon_market.middleware.BodyLimitMiddleware",
    "lemon_market.middleware.FormMiddleware",
    "lemon_market.middleware.PageMiddleware",
]
# Applied by PageMiddleware to pages only; the API needs none of it.
PAGE_MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "axes.middleware.AxesMiddleware",
]
# These checks look for the page middleware in MIDDLEWARE.
SILENCED_SYSTEM_CHECKS = ["admin.E408", "admin.E409", "admin.E410", "axes.W002", "security.W003"]
ROOT_URLCONF = "lemon_market.urls"
WSGI_APPLICATION = "lemon_market.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def program(arguments: list[str]) -> str:
    """The name of this process: its manage.py command, or `web`."""
    if Path(arguments[0]).name == "manage.py" and len(arguments) > 1:
        return arguments[1]
    return "web" if "granian" in arguments[0] else Path(arguments[0]).name


DATABASES = {"default": env.db_url_config(DATABASE_URL or local_install.read_or_invent(DATA_DIR).postgres_url)}
DATABASES["default"] |= {
    "ENGINE": "infrastructure.database",
    # One connection per thread, kept for as long as the server keeps it.
    "CONN_MAX_AGE": 600,
    "OPTIONS": {
        **DATABASES["default"].get("OPTIONS", {}),
        "connect_timeout": 2,
        # Never prepare automatically: Django writes parameters into the text.
        "prepare_threshold": 2**31,
        # Shows in the server's connections which processes run, on all machines.
        "application_name": f"lemon_market {program(sys.argv)}",
    },
}
# Seconds that a request waits for the answer to one statement; searches in the back office may take longer.
DATABASE_TIMEOUT = 2.5
DATABASE_TIMEOUT_ADMIN = 15.0
# Seconds after which the server itself ends a statement of a process that answers requests, in case that process was killed;
# 0 for commands, which take the time that they need.
STATEMENT_TIMEOUT = 20.0 if program(sys.argv) in {"web", "run_notification_service"} else 0.0
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = ["infrastructure.passwords.PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# A working day from sign-in, used or not; each sign-in starts a new session.
SESSION_ENGINE = "infrastructure.sessions"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Strict"
# Pages read the token from their forms.
CSRF_COOKIE_HTTPONLY = True

# Ten wrong passwords for one account from one address lock that account for that address. Not for all addresses, or anyone
# could lock out anyone. FAILED_LOGINS_PER_MINUTE limits what one address may try with many accounts.
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_USERNAME_CALLABLE = "infrastructure.throttling.counted_username"
AXES_CLIENT_IP_CALLABLE = "infrastructure.client_address.of_request"
AXES_LOCKOUT_CALLABLE = "infrastructure.throttling.locked_out"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
# Masked in logs, since people sometimes type a password into this field; the address is enough for an operator.
AXES_SENSITIVE_PARAMETERS = ["username"]

# Limits on requests per account and per address, over all processes; 0 means no limit. See infrastructure/throttling.py.
ACCOUNT_REQUESTS_PER_SECOND = env.int("ACCOUNT_REQUESTS_PER_SECOND", 10_000)
ADDRESS_REQUESTS_PER_SECOND = env.int("ADDRESS_REQUESTS_PER_SECOND", 10_000)
FAILED_LOGINS_PER_MINUTE = env.int("FAILED_LOGINS_PER_MINUTE", 30)
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "trading"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
# Django's English format, "5:59 a.m.", has no seconds, which matter at an order desk.
FORMAT_MODULE_PATH = "lemon_market.formats"
STATIC_URL = "/static/"
# Static files are served from their packages; set STATIC_ROOT to let another server do so.
STATIC_ROOT = env.str("STATIC_ROOT", "") or None
WHITENOISE_USE_FINDERS = True

# An order is about 200 bytes and a batch holds 1,000 of them.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000
# No form uploads files.
DATA_UPLOAD_MAX_NUMBER_FILES = 0

# The exchange, and how orders are placed there; times in seconds.
EXCHANGE_IS_SIMULATED = not env.str("EXCHANGE_URL", "")
EXCHANGE_URL = env.str("EXCHANGE_URL", "") or f"http://127.0.0.1:{EXCHANGE_PORT}"
EXCHANGE_TIMEOUT = env.float("EXCHANGE_TIMEOUT", 5.0)
EXCHANGE_CLOCK_MARGIN = env.float("EXCHANGE_CLOCK_MARGIN", 2.0)
PLACEMENT_RETRY_BASE = env.float("PLACEMENT_RETRY_BASE", 1.0)
PLACEMENT_RETRY_CAP = env.float("PLACEMENT_RETRY_CAP", 60.0)
PLACEMENT_GIVE_UP_AFTER = env.float("PLACEMENT_GIVE_UP_AFTER", 900.0)
PLACEMENT_CONCURRENCY = env.int("PLACEMENT_CONCURRENCY", 750)
PLACEMENT_LEASE = env.float("PLACEMENT_LEASE", 15.0)

# The notification service. Pages connect to NOTIFICATIONS_URL or, without it, to the port on their own host.
NOTIFICATIONS_URL = env.str("NOTIFICATIONS_URL", "")
# Seconds between heartbeats, which show clients that the connection lives; credentials are checked every second heartbeat.
NOTIFICATIONS_HEARTBEAT = env.float("NOTIFICATIONS_HEARTBEAT", 15.0)
NOTIFICATIONS_CONNECTIONS_PER_ACCOUNT = env.int("NOTIFICATIONS_CONNECTIONS_PER_ACCOUNT", 100)

# How wake-ups, feed reports and live events travel between processes: by the database alone, or by Kafka.
ORDER_TRANSPORT = env.str("ORDER_TRANSPORT", "django_q")
KAFKA_PORT = env.int("KAFKA_PORT", 9092)
EMBEDDED_KAFKA = ORDER_TRANSPORT == "kafka" and not env.str("KAFKA_BOOTSTRAP_SERVERS", "")
KAFKA_BOOTSTRAP_SERVERS = env.str("KAFKA_BOOTSTRAP_SERVERS", "") or f"127.0.0.1:{KAFKA_PORT}"
# Further settings of librdkafka for every client, such as `security.protocol=SASL_SSL,sasl.username=...`.
KAFKA_OPTIONS = env.dict("KAFKA_OPTIONS", default={})
# Prefix of every topic and group, for a shared cluster.
KAFKA_PREFIX = env.str("KAFKA_PREFIX", "")
# Tasks are only wake-ups: each runs a placement loop for about 20 s, and the sweep replaces lost ones.
Q_CLUSTER = {
    "name": "lemon_market",
    "orm": "default",
    "workers": 2,
    "timeout": 60,
    # Counted from when a task is fetched, so it must far exceed the longest wait in the local queue plus `timeout`.
    "retry": 300,
    "queue_limit": 2,
    "bulk": 1,
    "poll": 0.2,
    # -1 keeps no successes: anything else counts and locks every saved one for each task.
    "save_limit": -1,
    # A failed wake-up is not repeated; the sweep makes a new one while there is work.
    "ack_failures": True,
    "max_attempts": 1,
    "scheduler": False,
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "orders.api.authentication.TokenAuthentication",
        "orders.api.authentication.SessionAuthentication",
        "orders.api.authentication.AnonymousAccountAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["orders.api.throttling.AccountThrottle"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "orders.api.negotiation.UsualNegotiation",
    "DEFAULT_RENDERER_CLASSES": ["orders.api.negotiation.FastJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["orders.api.parsing.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "orders.api.errors.handle_exception",
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
    # Whatever orjson cannot write is escaped: JSON can contain unpaired surrogates, UTF-8 cannot.
    "UNICODE_JSON": False,
}
# Days that a token is valid, unless `create_token` is told otherwise; 0 means without end.
TOKEN_TTL = env.int("TOKEN_TTL", 30)
# Seconds for which a process caches a token before it checks again whether it was revoked; 0 checks at each request.
TOKEN_CACHE_TTL = env.float("TOKEN_CACHE_TTL", 1.0)
REST_KNOX = {"TOKEN_TTL": timedelta(days=TOKEN_TTL) if TOKEN_TTL else None, "AUTO_REFRESH": False}
SPECTACULAR_SETTINGS = {
    "TITLE": "Lemon Market",
    "DESCRIPTION": "Takes brokerage orders, stores them durably and places each of them at the exchange exactly once.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "orders.api.schema.add_refusals"],
    # Clients cannot present the anonymous account, so the schema omits it.
    "AUTHENTICATION_WHITELIST": [
        "orders.api.authentication.TokenAuthentication",
        "orders.api.authentication.SessionAuthentication",
    ],
    "ENUM_NAME_OVERRIDES": {
        name: f"orders.states.{name}" for name in ("OrderType", "Side", "Status", "ErrorCode", "ExecutionStatus", "EventType")
    },
}

# The back office's theme; its pages and their permissions are in orders/admin.
UNFOLD = {
    "SITE_TITLE": "Lemon Market",
    "SITE_HEADER": "Lemon Market",
    "SITE_SUBHEADER": "Back office",
    "SITE_SYMBOL": "candlestick_chart",
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "orders.admin.landing.add_to_index",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("orders/lemon.svg")}],
    "COLORS": {
        "primary": {
            weight: f"oklch({lightness}% {chroma} 128)"
            for weight, lightness, chroma in (
                ("50", 98, 0.03),
                ("100", 96, 0.06),
                ("200", 92, 0.1),
                ("300", 87, 0.15),
                ("400", 74, 0.17),
                ("500", 60, 0.15),
                ("600", 50, 0.13),
                ("700", 43, 0.11),
                ("800", 37, 0.09),
                ("900", 33, 0.08),
                ("950", 24, 0.06),
            )
        }
    },
    "STYLES": [lambda request: static("orders/desk.css"), lambda request: static("orders/safety.css")],
    "SIDEBAR": {"navigation": "orders.admin.navigation.navigation"},
}

LOG_LEVEL = env.str("LOG_LEVEL", "INFO")
LOG_JSON = env.bool("LOG_JSON", False)
# One line for each request and each order event, which is a lot: by default only when a program collects the lines.
LOG_TRAFFIC = env.bool("LOG_TRAFFIC", LOG_JSON)
LOGGING = logs.configuration(LOG_LEVEL, as_json=LOG_JSON)
