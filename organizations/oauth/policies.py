"""What happens to applications and tokens: an organization's applications go with it, and what
people let them do goes with either."""

from erasure.policies import DELETE, Detach, policy

NOT_SERVED = "Neither OpenID Connect nor the device flow is served, so no row is ever written."

policy(
    "oauth.Application",
    links={
        "organization": DELETE,
        "created_by": Detach("The application is the organization's and outlives whoever made it."),
    },
    personal=["name", "redirect_uris"],
    secret=["client_secret"],
    opaque=[
        "id",
        "client_id",
        "client_type",
        "authorization_grant_type",
        "created",
        "updated",
        "scopes",
    ],
)
policy(
    "oauth.Grant",
    links={"user": DELETE, "application": DELETE},
    personal=["redirect_uri"],
    secret=["code", "code_challenge"],
    opaque=["id", "expires", "scope", "created", "updated", "code_challenge_method", "used_for"],
)
policy(
    "oauth.RefreshToken",
    links={"user": DELETE, "application": DELETE},
    personal=["application_name"],
    secret=["token_checksum"],
    opaque=["id", "scope", "expires", "created", "updated"],
)
policy(
    "oauth.AccessToken",
    links={"user": DELETE, "application": DELETE},
    secret=["token_checksum"],
    opaque=["id", "family", "expires", "scope", "created", "updated"],
)
policy(
    "oauth.IDToken",
    secret=["jti"],
    opaque=["id", "expires", "created", "updated"],
    harmless={"scope": NOT_SERVED},
    nobody=NOT_SERVED,
)
policy(
    "oauth.DeviceGrant",
    secret=["device_code", "user_code"],
    opaque=["id", "interval", "expires", "status", "client_id", "last_checked"],
    harmless={"scope": NOT_SERVED},
    nobody=NOT_SERVED,
)
