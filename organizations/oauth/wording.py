"""What scopes mean to the person who is asked."""

from apikeys import scopes

_TO_YOU = {
    scopes.ACCOUNT_READ: "read your profile: username, name and e-mail address",
    scopes.ACCOUNT_DELETE: "delete your account",
    scopes.ORGANIZATIONS_DELETE: "delete organizations that you own",
    scopes.ORGANIZATIONS_READ: "see your organizations and their members",
    scopes.ORGANIZATIONS_WRITE: "change, staff, pass on and archive organizations that you run",
    scopes.WEBHOOKS_READ: "see the webhooks of organizations that you run",
    scopes.WEBHOOKS_WRITE: "create, change and remove webhooks of organizations that you run",
    scopes.BILLING_READ: "see the subscriptions of organizations that you run",
}


def explain_scope(scope: str) -> str:
    """Return what a scope lets an application do, as it is said to the person that it acts for."""
    return _TO_YOU.get(scope) or scopes.DESCRIPTIONS.get(scope, scope)
