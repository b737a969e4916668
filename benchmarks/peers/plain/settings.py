"""A Django project with nothing in it but what the peers need: no middleware, no logs, no checks of
the connection. Whatever ours does beyond that, it pays for."""

import os

import environ

SECRET_KEY = "only for benchmarks"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "benchmarks.peers.plain.urls"
USE_TZ = True
INSTALLED_APPS = [
    "benchmarks.peers.plain",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "rest_framework_api_key",
    "knox",
]
MIDDLEWARE: list[str] = []
AUTH_USER_MODEL = "plain.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Tables are made from the models: a benchmark's database has no history.
MIGRATION_MODULES = dict.fromkeys(
    ("plain", "auth", "contenttypes", "knox", "rest_framework_api_key"), None
)
DATABASES = {
    "default": environ.Env.db_url_config(os.environ["DATABASE_URL"]) | {"CONN_MAX_AGE": None}
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
LOGGING_CONFIG = None
