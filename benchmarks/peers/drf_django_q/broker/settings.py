"""As `startproject` and the two packages' documentation suggest, plus what makes them faster."""

import os
from urllib.parse import urlsplit

database = urlsplit(os.environ["PEER_DATABASE"])
SECRET_KEY = "only-for-benchmarks-" + "0" * 40
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "django_q", "broker"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "broker.urls"
APPEND_SLASH = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.path[1:],
        "USER": database.username,
        "PASSWORD": database.password,
        "HOST": database.hostname,
        "PORT": database.port,
        # Without it the web process and each task would open new connections.
        "CONN_MAX_AGE": 600,
    }
}
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}
Q_CLUSTER = {
    "name": "bench",
    "orm": "default",
    # A worker is a process that places one order at a time, and each holds a database connection.
    "workers": int(os.environ["PEER_CONCURRENCY"]),
    "bulk": 10,
    "timeout": 60,
    "retry": 300,
    # Any other value locks and counts every success for each task.
    "save_limit": -1,
    "ack_failures": True,
    "scheduler": False,
    "log_level": "ERROR",
}
