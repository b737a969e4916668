"""What a key may do. A scope is granted to a key when it is made and never grows."""

ACCOUNT_READ = "account:read"
ACCOUNT_DELETE = "account:delete"
KEYS_MANAGE = "keys:manage"
ORGANIZATIONS_READ = "organizations:read"
ORGANIZATIONS_WRITE = "organizations:write"
ORGANIZATIONS_DELETE = "organizations:delete"
ORGANIZATIONS_KEYS = "organizations:keys"
APPLICATIONS_WRITE = "applications:write"
WEBHOOKS_READ = "webhooks:read"
WEBHOOKS_WRITE = "webhooks:write"
USERS_DELETE = "users:delete"
USERS_ERASE = "users:erase"
DELETIONS_RESTORE = "deletions:restore"
BILLING_READ = "billing:read"
AUDIT_READ = "audit:read"

PERSONAL = frozenset(
    {
        ACCOUNT_READ,
        ACCOUNT_DELETE,
        KEYS_MANAGE,
        ORGANIZATIONS_READ,
        ORGANIZATIONS_WRITE,
        ORGANIZATIONS_DELETE,
        ORGANIZATIONS_KEYS,
        APPLICATIONS_WRITE,
        WEBHOOKS_READ,
        WEBHOOKS_WRITE,
        BILLING_READ,
        AUDIT_READ,
    }
)
"""A key of a user's own may hold these."""

ORGANIZATION = frozenset(
    {
        USERS_DELETE,
        ORGANIZATIONS_READ,
        ORGANIZATIONS_WRITE,
        WEBHOOKS_READ,
        WEBHOOKS_WRITE,
        AUDIT_READ,
    }
)
"""A key of an organization, a platform key, may hold these."""

PLATFORM = frozenset({USERS_DELETE})
"""What a platform key holds when nobody says otherwise."""

STAFF = PERSONAL | {USERS_ERASE, DELETIONS_RESTORE}
"""A key of a staff user, an operator key, may hold these."""

DELEGABLE = PERSONAL - {KEYS_MANAGE, ORGANIZATIONS_KEYS, APPLICATIONS_WRITE, AUDIT_READ}
"""An OAuth application may hold these on behalf of a user. Not those by which it could make itself
a credential that outlives the user's consent, and not the one by which staff read of everybody."""

DESCRIPTIONS = {
    ACCOUNT_READ: "read one's own profile",
    ACCOUNT_DELETE: "delete one's own account",
    KEYS_MANAGE: "create, list, rename and revoke one's own keys",
    ORGANIZATIONS_READ: "see organizations that one belongs to, with their members",
    ORGANIZATIONS_WRITE: "create, change, staff, pass on and archive organizations",
    ORGANIZATIONS_DELETE: "delete organizations that one owns",
    ORGANIZATIONS_KEYS: "create, list, rename and revoke keys of organizations that one runs",
    APPLICATIONS_WRITE: "create, list and delete OAuth applications of organizations that one runs",
    WEBHOOKS_READ: "see webhooks and deliveries of organizations that one runs, or of its own",
    WEBHOOKS_WRITE: "create, change and remove webhooks of organizations that one runs, or of its "
    "own, and send again",
    BILLING_READ: "read the subscription of organizations that one belongs to",
    USERS_DELETE: "delete the users that the organization manages, and their logs",
    USERS_ERASE: "erase any user but oneself (staff)",
    AUDIT_READ: "read the audit events of organizations that one runs; of all (staff)",
    DELETIONS_RESTORE: "see deletions and restore what they took (staff)",
}
