"""What happens to the tables of Django's own apps and of packages that many projects install.

Read before any ``policies.py``, so that a project's own declaration of the same model wins. Those
of packages that are not installed are of no account.
"""

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Q

from erasure.policies import DELETE, Anonymise, Detach, Loose, policy

NOBODY = "It describes the software and not a person."


def about_model_of(subjects: Any) -> Q:
    """Return the condition that a row's content type is that of the subjects, or of a proxy."""
    content_types = apps.get_model("contenttypes.ContentType")._default_manager
    mine = [
        Q(app_label=model._meta.app_label, model=model._meta.model_name)
        for model in apps.get_models()
        if model._meta.concrete_model is subjects.model
    ]
    known = Q(*mine, _connector=Q.OR)
    return Q(content_type__in=content_types.filter(known).values("pk"))


def match_sessions(instance: Any) -> Q:
    """Return the condition that finds the sessions of a user who signed in.

    Django's sessions hold their user in encoded form only, so each is decoded: with many sign-ins
    use a session model that has a column for its user.
    """
    sessions: Any = apps.get_model("sessions", "Session")  # type: ignore[misc]
    if instance._meta.concrete_model is not get_user_model()._meta.concrete_model:
        return Q(pk=None)
    mine = [
        session.pk
        for session in sessions._default_manager.iterator()
        if session.get_decoded().get("_auth_user_id") == str(instance.pk)
    ]
    return Q(pk__in=mine)


policy("contenttypes.ContentType", opaque=["id", "app_label", "model"], nobody=NOBODY)
policy("auth.Permission", opaque=["id", "name", "content_type", "codename"], nobody=NOBODY)
policy("auth.Group", opaque=["id", "name"], nobody="It describes a role and not a person.")
policy("auth.Group_permissions", opaque=["id", "group", "permission"], nobody=NOBODY)
policy(
    "auth.User",
    personal=["username", "first_name", "last_name", "email"],
    secret=["password"],
    opaque=["id", "last_login", "is_superuser", "is_staff", "is_active", "date_joined"],
)
policy("auth.User_groups", links={"user": DELETE}, opaque=["id", "group"])
policy("auth.User_user_permissions", links={"user": DELETE}, opaque=["id", "permission"])
policy(
    "admin.LogEntry",
    links={"user": DELETE},
    loose=[
        Loose(
            "object_id",
            kind="*",
            where=about_model_of,
            index="erasure_admin_log_by_object",
            fate=Anonymise(
                {"object_repr": "erased", "change_message": ""},
                "What staff did stays on record; the name of whom they did it to does not.",
            ),
        )
    ],
    personal=["object_repr", "change_message"],
    opaque=["id", "action_time", "content_type", "action_flag"],
)
policy(
    "sessions.Session",
    loose=[Loose("session_data", kind="*", fate=DELETE, match=match_sessions)],
    secret=["session_key", "session_data"],
    opaque=["expire_date"],
)
policy("authtoken.Token", links={"user": DELETE}, secret=["key"], opaque=["created"])
policy("sites.Site", opaque=["id", "domain", "name"], nobody=NOBODY)
policy(
    "django_tasks_database.DBTaskResult",
    # A running one is still to write its end; it goes with the next erasure or the next clean-up.
    loose=[
        Loose(
            "args_kwargs",
            kind="*",
            fate=DELETE,
            quoted=True,
            where=lambda subjects: ~Q(status="RUNNING"),
        )
    ],
    personal=["return_value", "traceback"],
    opaque=[
        "id",
        "status",
        "enqueued_at",
        "started_at",
        "finished_at",
        "priority",
        "task_path",
        "worker_ids",
        "queue_name",
        "backend_name",
        "run_after",
        "exception_class_path",
    ],
)

# A user's own clients go with the user, and tokens of others with the client that they were for.
USELESS = Detach("The other token is somebody else's, or has its own link to its user.")
policy(
    "oauth2_provider.Application",
    links={"user": DELETE},
    personal=["name", "redirect_uris", "post_logout_redirect_uris", "allowed_origins"],
    secret=["client_id", "client_secret"],
    opaque=[
        "id",
        "client_type",
        "authorization_grant_type",
        "hash_client_secret",
        "skip_authorization",
        "created",
        "updated",
        "algorithm",
        "registration_source",
        "cimd_expires_at",
    ],
)
policy(
    "oauth2_provider.Grant",
    links={"user": DELETE, "application": DELETE},
    personal=["claims", "redirect_uri"],
    secret=["code", "code_challenge", "nonce"],
    opaque=["id", "expires", "scope", "created", "updated", "code_challenge_method", "resource"],
)
policy(
    "oauth2_provider.AccessToken",
    links={
        "user": DELETE,
        "application": DELETE,
        "id_token": DELETE,
        "source_refresh_token": USELESS,
    },
    secret=["token", "token_checksum"],
    opaque=["id", "expires", "scope", "resource", "created", "updated"],
)
policy(
    "oauth2_provider.RefreshToken",
    links={"user": DELETE, "application": DELETE, "access_token": USELESS},
    secret=["token", "token_checksum", "token_family"],
    opaque=["id", "resource", "created", "updated", "revoked"],
)
policy(
    "oauth2_provider.IDToken",
    links={"user": DELETE, "application": DELETE},
    secret=["jti"],
    opaque=["id", "expires", "scope", "created", "updated"],
)
policy(
    "oauth2_provider.DeviceGrant",
    links={"user": DELETE},
    secret=["device_code", "user_code"],
    opaque=["id", "scope", "interval", "expires", "status", "client_id", "last_checked"],
)
