"""Every setting of Lemon Market; the README's table explains those that come from the environment."""

from pathlib import Path

import environ
import structlog
from django.core.exceptions import ImproperlyConfigured

from lemon_market import local_install

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
env.read_env(BASE_DIR / ".env")

DATA_DIR = (BASE_DIR / env.str("DATA_DIR", ".local")).resolve()
DEBUG = env.bool("DEBUG", False)
DATABASE_URL = env.str("DATABASE_URL", "")
EMBEDDED_POSTGRES = not DATABASE_URL
ANONYMOUS_ACCOUNT = env.str("ANONYMOUS_ACCOUNT", "")

# A trial installation (embedded database, DEBUG or the demo account) makes its own secret once and keeps it.
SECRET_KEY = env.str("SECRET_KEY", "")
if not SECRET_KEY:
    if not (EMBEDDED_POSTGRES or DEBUG or ANONYMOUS_ACCOUNT):
        raise ImproperlyConfigured("SECRET_KEY is not set: put 50 or more random characters into the environment or .env")
    SECRET_KEY = local_install.load(DATA_DIR).secret_key

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"] if EMBEDDED_POSTGRES or DEBUG else [])

# Addresses of the processes that `manage.py up` starts.
HOST = env.str("HOST", "127.0.0.1")
WEB_PORT = env.int("WEB_PORT", 8000)
NOTIFICATIONS_PORT = env.int("NOTIFICATIONS_PORT", 8001)
EXCHANGE_PORT = env.int("EXCHANGE_PORT", 8100)

# orders stands before django_q so that its `qcluster` command, which replaces theirs, is found first.
INSTALLED_APPS = [
    "lemon_market",
    "orders",
    "exchange",
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
]
MIDDLEWARE = [
    "lemon_market.middleware.DatabaseUnavailableMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
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

DATABASES = {"default": env.db_url_config(DATABASE_URL or local_install.load(DATA_DIR).postgres_url)}
DATABASES["default"] |= {
    # One connection per thread, kept. After PostgreSQL was away each fails once (503) and is then opened anew.
    "CONN_MAX_AGE": 600,
    "OPTIONS": {
        **DATABASES["default"].get("OPTIONS", {}),
        "connect_timeout": 2,
        "application_name": "lemon_market",
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
LOGIN_URL = "admin:login"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = True

# An order is about 200 bytes and a batch holds 1,000 of them.
MAX_BODY_BYTES = 1024 * 1024
