"""A blog's settings: what ``startproject`` writes, shortened, and what erasure reads."""

import os
from datetime import timedelta
from pathlib import Path

import environ

VAR = Path(os.environ["BLOG_VAR"])

SECRET_KEY = "only-for-tests-" * 4
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "tests.blog.urls"
STATIC_URL = "static/"
MEDIA_ROOT = VAR / "media"
USE_TZ = True
DATABASES = {"default": environ.Env().db("DATABASE_URL")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA secure_delete=ON;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "tests.blog",
    "erasure",
    "audit",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "erasure.middleware.LedgerGate",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
GRACE_PERIOD = timedelta(days=7)
ERASURE_LEDGER = str(VAR / "ledger" / "erasures.jsonl")
ERASURE_BASE_URL = "https://blog.example"
RECEIPT_KEY_FILE = VAR / "receipt-key.json"
