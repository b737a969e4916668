"""What happens to keys: a user's go with the user, an organization's with the organization."""

from erasure.policies import DELETE, Detach, policy

policy(
    "apikeys.ApiKey",
    links={
        "user": DELETE,
        "organization": DELETE,
        "created_by": Detach("The key is the organization's and outlives whoever made it."),
    },
    personal=["name", "hint"],
    secret=["digest"],
    opaque=["id", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at"],
)
