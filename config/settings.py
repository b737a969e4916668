"""All settings, read from the environment. ``.env.example`` lists and explains every variable.

Development is the default and serves localhost only, so a deployment that forgets
``ENVIRONMENT=production`` answers nobody from outside.
"""

import re
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

VAR_DIR = Path(env.str("VAR_DIR", str(BASE_DIR / "var")))

ENVIRONMENT = env.str("ENVIRONMENT", "development")
if ENVIRONMENT not in ("development", "production"):
    raise ImproperlyConfigured("ENVIRONMENT must be 'development' or 'production'.")
PRODUCTION = ENVIRONMENT == "production"
DEBUG = False


def require(name: str, what: str) -> str:
    """Return a variable that production cannot do without, or stop the start and say so."""
    value: str = env.str(name, "")
    if PRODUCTION and not value:
        raise ImproperlyConfigured(f"Set the environment variable {name}: {what}.")
    return value


def local_secret() -> str:
    """Return this checkout's own development secret, made at first use and readable by its owner
    only."""
    VAR_DIR.mkdir(parents=True, exist_ok=True)
    file = VAR_DIR / "secret-key"
    try:
        with file.open("x") as new:
            file.chmod(0o600)
            new.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return file.read_text()


SECRET_KEY = (
    require("SECRET_KEY", "a random text of at least 50 characters, kept secret") or local_secret()
)
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = (
    env.list("ALLOWED_HOSTS", default=[])
    or (require("ALLOWED_HOSTS", "the host names that clients use, separated by commas") and [])
    or LOCAL_HOSTS
)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "accounts",
    "organizations",
    "organizations.billing",
    "organizations.webhooks",
    # Before ours, which takes its pages out of the admin.
    "oauth2_provider",
    "organizations.oauth",
    "apikeys",
    "erasure",
    "audit",
    "contracts",
    "config.apps.SextonAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_tasks_db",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "config.middleware.RequestTrace",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Before whatever reads the database.
    "erasure.middleware.LedgerGate",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- database ---------------------------------------------------------------------------------

DATABASE_URL = require("DATABASE_URL", "where PostgreSQL is, as postgres://user:password@host/name")


def database(url: str) -> dict[str, Any]:
    """Return Django's settings for a database URL, with what correctness needs on each engine."""
    config: dict[str, Any] = env.db_url_config(url)
    options = config.setdefault("OPTIONS", {})
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # A deferred transaction that turns into a writer fails with "database is locked".
        options["transaction_mode"] = "IMMEDIATE"
        options["timeout"] = 30
        # FULL: an answered deletion must survive a power cut. secure_delete: so must its absence.
        options["init_command"] = (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
        )
    elif config["ENGINE"] == "django.db.backends.postgresql":
        from psycopg import IsolationLevel

        # Guards lock the parent row and then count: that needs a fresh snapshot per statement.
        options["isolation_level"] = IsolationLevel.READ_COMMITTED
        # The same few statements for ever: let the server parse and plan them once.
        options["server_side_binding"] = True
        options["prepare_threshold"] = env.int("DATABASE_PREPARE_AFTER", 5) or None
        config["ENGINE"] = "config.postgresql"
        config["CONN_MAX_AGE"] = env.int("DATABASE_MAX_AGE", 600)
        config["CONN_HEALTH_CHECKS"] = env.bool("DATABASE_HEALTH_CHECKS", default=True)
        config["CONN_HEALTH_TRUSTED"] = env.float("DATABASE_HEALTH_TRUSTED", 1.0)
    else:
        raise ImproperlyConfigured("DATABASE_URL must name PostgreSQL or SQLite.")
    return config


if not DATABASE_URL:
    VAR_DIR.mkdir(parents=True, exist_ok=True)
    DATABASE_URL = f"sqlite:///{VAR_DIR / 'sexton.sqlite3'}"
DATABASES = {"default": database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": env.cache_url("CACHE_URL", default="locmemcache://")}
if CACHES["default"]["BACKEND"].endswith(".LocMemCache"):
    # Django keeps 300 entries by default, and with the 301st throttles would begin to forget.
    CACHES["default"].setdefault("OPTIONS", {})["MAX_ENTRIES"] = 100_000

# --- accounts ---------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.AccountBackend"]
SESSION_ENGINE = "accounts.sessions"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
if not PRODUCTION:
    # Passwords of the demo's users are hashed by a hasher that production does not know.
    PASSWORD_HASHERS.append("accounts.hashers.DemoPasswordHasher")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
SILENCED_SYSTEM_CHECKS = [
    # USERNAME_FIELD is unique among live users; AccountBackend looks among those only.
    "auth.W004",
]
GRACE_PERIOD = timedelta(days=env.int("GRACE_PERIOD_DAYS", 14))
INVITATION_LIFETIME = timedelta(days=env.int("INVITATION_DAYS", 7))
# Where invitations are accepted, with {token} in it; by default a page of this service.
INVITATION_URL = env.str("INVITATION_URL", "")
# So many subjects may one member of staff erase within so many hours; for more it takes a second
# one.
BULK_THRESHOLD = env.int("BULK_THRESHOLD", 10)
BULK_WINDOW = timedelta(hours=env.int("BULK_WINDOW_HOURS", 24))

# --- ledger and receipts ------------------------------------------------------------------------

ERASURE_LEDGER = require(
    "ERASURE_LEDGER",
    "the file, or the alias of a storage, that remembers erasures; not where the database lies",
)
if not PRODUCTION:
    ERASURE_LEDGER = env.str("ERASURE_LEDGER", "") or str(VAR_DIR / "ledger" / "erasures.jsonl")
    ERASURE_LEDGER = "" if ERASURE_LEDGER == "none" else ERASURE_LEDGER
ERASURE_LEDGER_CHECK_SECONDS = env.float("ERASURE_LEDGER_CHECK_SECONDS", 1.0)
ERASURE_GATE_ANSWER = "config.pages.behind"
# They read nothing about anybody.
ERASURE_GATE_OPEN = {
    "/healthz",
    "/readyz",
    "/.well-known/jwks.json",
    "/openapi.json",
    "/docs",
    "/metrics",
    "/.well-known/oauth-authorization-server",
}
RECEIPT_SIGNING_KEY = env.str("RECEIPT_SIGNING_KEY", "")
if sys.argv[1:2] != ["make_receipt_key"]:
    require(
        "RECEIPT_SIGNING_KEY",
        "the Ed25519 key that signs receipts, as JWK, PEM or a file's path; manage.py "
        "make_receipt_key makes one",
    )
# Development makes its own.
RECEIPT_KEY_FILE = None if PRODUCTION else VAR_DIR / "receipt-key.json"
RECEIPT_KEYS = env.str("RECEIPT_KEYS", "")
RECEIPT_ISSUER = env.str("RECEIPT_ISSUER", "Sexton")
# The audit log's checkpoints: who signs them, under which name, and whom they go to.
AUDIT_SIGNING_KEY = env.str("AUDIT_SIGNING_KEY", "")
AUDIT_ORIGIN = env.str("AUDIT_ORIGIN", "") or f"{ALLOWED_HOSTS[0].lstrip('*.') or 'sexton'}/audit"
# What the log was called before: checkpoints of then still verify.
AUDIT_FORMER_ORIGINS = env.list("AUDIT_FORMER_ORIGINS", default=[])
if not all(re.fullmatch(r"[^\s+]+", name) for name in (AUDIT_ORIGIN, *AUDIT_FORMER_ORIGINS)):
    raise ImproperlyConfigured(
        "AUDIT_ORIGIN and AUDIT_FORMER_ORIGINS must hold neither white space nor a plus sign."
    )
AUDIT_SEAL_EVERY = timedelta(seconds=env.int("AUDIT_SEAL_SECONDS", 10))
AUDIT_PUBLISH_EVERY = timedelta(seconds=env.int("AUDIT_PUBLISH_SECONDS", 300))
AUDIT_WEBHOOKS = env.list("AUDIT_WEBHOOKS", default=[])
AUDIT_MAILS = env.list("AUDIT_MAILS", default=[])
AUDIT_MAIL_EVERY = timedelta(hours=env.int("AUDIT_MAIL_HOURS", 24))
BACKUP_RETENTION_DAYS = env.int("BACKUP_RETENTION_DAYS", 30)

API_KEY_PREFIX = env.str("API_KEY_PREFIX", "sk-")
if not re.fullmatch(r"[A-Za-z0-9-]*[A-Za-z0-9][-_]", API_KEY_PREFIX):
    raise ImproperlyConfigured("API_KEY_PREFIX must be letters and digits ending in '-' or '_'.")
if API_KEY_PREFIX.endswith("demo-"):
    raise ImproperlyConfigured("API_KEY_PREFIX must not end in 'demo-', which marks demo keys.")
DEMO_KEY_PREFIX = f"{API_KEY_PREFIX}demo-"
API_KEY_PREFIXES = (API_KEY_PREFIX,) if PRODUCTION else (API_KEY_PREFIX, DEMO_KEY_PREFIX)

# --- billing ----------------------------------------------------------------------------------

STRIPE_API_KEY = env.str("STRIPE_API_KEY", "")
STRIPE_API_BASE = env.str("STRIPE_API_BASE", "https://api.stripe.com")
if PRODUCTION and not STRIPE_API_BASE.startswith("https://"):
    raise ImproperlyConfigured("STRIPE_API_BASE must begin with https://: it is sent the key.")
STRIPE_TIMEOUT = env.float("STRIPE_TIMEOUT_SECONDS", 20.0)
STRIPE_WEBHOOK_SECRET = env.str("STRIPE_WEBHOOK_SECRET", "")

# --- webhooks ---------------------------------------------------------------------------------

# Ports that a webhook may be sent to.
WEBHOOKS_PORTS = {int(port) for port in env.list("WEBHOOKS_PORTS", default=["443", "8443"])}
# Further networks that are inside: public addresses of your own.
WEBHOOKS_FORBIDDEN_NETWORKS = env.list("WEBHOOKS_FORBIDDEN_NETWORKS", default=[])
# This machine as a target, over plain HTTP too. For trying webhooks out, and for tests.
WEBHOOKS_ALLOW_LOOPBACK = env.bool("WEBHOOKS_ALLOW_LOOPBACK", default=False)
if WEBHOOKS_ALLOW_LOOPBACK and PRODUCTION:
    raise ImproperlyConfigured("WEBHOOKS_ALLOW_LOOPBACK is for development only.")
# A file of certificate authorities, in place of the system's.
WEBHOOKS_CA_FILE = env.str("WEBHOOKS_CA_FILE", "")
WEBHOOKS_HISTORY_KEPT = timedelta(days=env.int("WEBHOOKS_HISTORY_DAYS", 30))
# Endpoints that one organization may have.
WEBHOOKS_MOST_ENDPOINTS = env.int("WEBHOOKS_MOST_ENDPOINTS", 20)

# --- OAuth --------------------------------------------------------------------------------------

OAUTH_TOKEN_PREFIX = "oat-"  # noqa: S105 - what a token begins with is none
if OAUTH_TOKEN_PREFIX in API_KEY_PREFIXES:
    raise ImproperlyConfigured("API_KEY_PREFIX must not be 'oat-', which marks OAuth tokens.")
CREDENTIAL_PREFIXES = (*API_KEY_PREFIXES, OAUTH_TOKEN_PREFIX)
# Asked, where a contract takes such tokens, about what is no API key.
TOKEN_VERIFIER = "organizations.oauth.verification.verify_token"  # noqa: S105 - a path
OAUTH_CODE_LIFETIME = timedelta(seconds=60)
OAUTH_TOKEN_LIFETIME = timedelta(seconds=env.int("OAUTH_TOKEN_SECONDS", 3600))
# Of an authorization that is not used; each refresh begins it anew.
OAUTH_IDLE_LIFETIME = timedelta(days=env.int("OAUTH_IDLE_DAYS", 30))
if min(OAUTH_TOKEN_LIFETIME, OAUTH_IDLE_LIFETIME) <= timedelta():
    raise ImproperlyConfigured("OAUTH_TOKEN_SECONDS and OAUTH_IDLE_DAYS must be 1 or more.")
OAUTH2_PROVIDER_APPLICATION_MODEL = "oauth.Application"
OAUTH2_PROVIDER_GRANT_MODEL = "oauth.Grant"
OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL = "oauth.AccessToken"  # noqa: S105 - a model
OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL = "oauth.RefreshToken"  # noqa: S105 - a model
OAUTH2_PROVIDER_ID_TOKEN_MODEL = "oauth.IDToken"  # noqa: S105 - a model
OAUTH2_PROVIDER_DEVICE_GRANT_MODEL = "oauth.DeviceGrant"
OAUTH2_PROVIDER = {
    "OAUTH2_SERVER_CLASS": "organizations.oauth.server.Server",
    "OAUTH2_VALIDATOR_CLASS": "organizations.oauth.validator.Validator",
    "SCOPES_BACKEND_CLASS": "organizations.oauth.server.Scopes",
    "ACCESS_TOKEN_EXPIRE_SECONDS": int(OAUTH_TOKEN_LIFETIME.total_seconds()),
    "PKCE_REQUIRED": True,
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "ALLOWED_REDIRECT_URI_SCHEMES": ["https"],
    "OAUTH2_RESPONSE_TYPES_SUPPORTED": ["code"],
    "OAUTH2_GRANT_TYPES_SUPPORTED": ["authorization_code", "client_credentials", "refresh_token"],
    "OAUTH2_TOKEN_ENDPOINT_AUTH_METHODS_SUPPORTED": [
        "client_secret_basic",
        "client_secret_post",
        "none",
    ],
    # RFC 9700, all of it.
    **{
        f"COMPLIANT_BCP_RFC9700_{name}": True
        for name in (
            "ACCESS_TOKEN_TRANSPORT",
            "AUTHZ_RESPONSE_ISS",
            "IMPLICIT_GRANT",
            "PASSWORD_GRANT",
            "PKCE_METHOD",
            "PKCE_REQUIRED",
            "REDIRECT_URI_MATCHING",
            "REDIRECT_URI_SCHEME",
            "REFRESH_TOKEN",
            "TOKEN_STORAGE",
        )
    },
}

# --- HTTP -------------------------------------------------------------------------------------

THROTTLE_CREDENTIAL = env.str("THROTTLE_CREDENTIAL", "600/min")
THROTTLE_FAILED_AUTHENTICATION = env.str("THROTTLE_FAILED_AUTHENTICATION", "60/min")
NUM_PROXIES = env.int("NUM_PROXIES", 0)
# Of a request to the API; staff save larger forms, up to Django's own limit.
BODY_LIMIT = env.int("BODY_LIMIT", 64 * 1024)
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["contracts.parsing.JSONObjectParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
    "NUM_PROXIES": NUM_PROXIES,
}

SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "font-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
if PRODUCTION:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", 365 * 24 * 60 * 60)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
    if NUM_PROXIES:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

SPECTACULAR_SETTINGS = {
    "TITLE": "Sexton",
    "VERSION": "0.1.0",
    "DESCRIPTION": "Takes users and organizations away properly: five delete contracts and the "
    "house API beside them.",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "PREPROCESSING_HOOKS": ["config.openapi.keep_documented"],
    "POSTPROCESSING_HOOKS": ["contracts.schema.complete"],
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "bearerAuth": {"type": "http", "scheme": "bearer"},
            "apiKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- background work --------------------------------------------------------------------------

ENGINES = {
    "database": "django_tasks_db.DatabaseBackend",
    "immediate": "django.tasks.backends.immediate.ImmediateBackend",
    "dummy": "django.tasks.backends.dummy.DummyBackend",
}
TASKS_BACKEND = env.str("TASKS_BACKEND", "database")
TASKS = {
    "default": {
        "BACKEND": ENGINES.get(TASKS_BACKEND, TASKS_BACKEND),
        "QUEUES": [],
        "OPTIONS": env.json("TASKS_OPTIONS", {}),
    }
}
TASKS_LOST_AFTER = timedelta(hours=env.int("TASKS_LOST_HOURS", 24))
ERASURE_SWEEP_EVERY = timedelta(seconds=env.int("ERASURE_SWEEP_SECONDS", 300))
if not timedelta() < ERASURE_SWEEP_EVERY:
    raise ImproperlyConfigured("ERASURE_SWEEP_SECONDS must be 1 or more.")
ERASURE_PURGE_JOBS = env.int("ERASURE_PURGE_JOBS", 1)
# Nobody runs a worker beside a development server; production must have one.
ERASURE_SWEEP_EXPECTED = env.bool("ERASURE_SWEEP_EXPECTED", default=PRODUCTION)
ERASURE_PURGE_JOBS = env.int("ERASURE_PURGE_JOBS", 1)
if ERASURE_PURGE_JOBS < 1:
    raise ImproperlyConfigured("ERASURE_PURGE_JOBS must be 1 or more.")
ERASURE_PURGE_SEARCH = env.bool("ERASURE_PURGE_SEARCH", default=False)
ERASURE_OVERDUE_AFTER = timedelta(hours=env.int("ERASURE_OVERDUE_HOURS", 24))
ERASURE_RECORDS_KEPT = timedelta(days=env.int("ERASURE_RECORDS_DAYS", 3 * 365))
METRICS_TOKEN = env.str("METRICS_TOKEN", "")

# --- pages, mail, language --------------------------------------------------------------------

EMAIL_URL = require(
    "EMAIL_URL", "the mail server, as smtp+tls://user:password@host:587, or dummymail:// for none"
)


def mailer(url: str) -> dict[str, Any]:
    """Return Django's settings for a mail URL."""
    given = env.email_url_config(url)
    backend = given["EMAIL_BACKEND"]
    if backend.endswith(".filebased.EmailBackend"):
        return {"BACKEND": backend, "OPTIONS": {"file_path": given["EMAIL_FILE_PATH"]}}
    if not backend.endswith(".smtp.EmailBackend"):
        return {"BACKEND": backend}
    names = {"host": "HOST", "port": "PORT", "username": "HOST_USER", "password": "HOST_PASSWORD"}
    options = {ours: given[f"EMAIL_{theirs}"] for ours, theirs in names.items()}
    options |= {f"use_{it}": given.get(f"EMAIL_USE_{it.upper()}", False) for it in ("tls", "ssl")}
    # A deletion does not wait for ever on a mail server that does not answer.
    return {"BACKEND": backend, "OPTIONS": {**options, "timeout": 10}}


MAILERS = {"default": mailer(EMAIL_URL or "consolemail://")}
_host = ALLOWED_HOSTS[0].lstrip("*.") or "localhost"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", f"no-reply@{_host}")
# Where the links in mails lead. Never taken from a request: a Host header can be anybody's.
ERASURE_BASE_URL = env.str("ERASURE_BASE_URL", "") or (
    f"https://{_host}" if PRODUCTION else "http://127.0.0.1:8000"
)
# In development the server may be on another port, so there the request decides.
OAUTH2_PROVIDER["OIDC_ISS_ENDPOINT"] = (
    ERASURE_BASE_URL if PRODUCTION or env.str("ERASURE_BASE_URL", "") else ""
)
ERASURE_WARNING_DAYS = env.int("ERASURE_WARNING_DAYS", 3)

STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", str(BASE_DIR / "staticfiles")))
if not PRODUCTION:
    # Files are served from where they lie; the folder only has to be there.
    STATIC_ROOT = VAR_DIR / "static"
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
# Django's default is the folder that the process happens to be started in.
MEDIA_ROOT = Path(env.str("MEDIA_ROOT", str(VAR_DIR / "media")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
if storage := env.json("ERASURE_LEDGER_STORAGE", {}):
    STORAGES["ledger"] = storage
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_AUTOREFRESH = False
LANGUAGE_CODE = "en-us"
USE_TZ = True
TIME_ZONE = "UTC"
LOGIN_URL = "admin:login"

# --- logs -------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "config.logs.JsonFormatter"}},
    "filters": {"pathless": {"()": "config.logs.Pathless"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "json"},
        "null": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", "INFO")},
    "loggers": {
        "django": {"level": "INFO"},
        # Django itself says which task began and ended.
        "django_tasks_db": {"level": "WARNING"},
        # It quotes addresses, which are somebody else's secret.
        "urllib3": {"level": "ERROR"},
        # It quotes the addresses of customers and subscriptions, call by call.
        "stripe": {"level": "WARNING"},
        # These quote the path, which may hold a username. RequestTrace logs the route instead.
        "django.request": {"filters": ["pathless"]},
        "django.security.DisallowedHost": {"handlers": ["null"], "propagate": False},
    },
}
