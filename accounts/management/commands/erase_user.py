"""``manage.py erase_user``: one user, for ever and at once, after a look at the plan."""

from erasure.management.erasing import EraseCommand


class Command(EraseCommand):
    help = (
        "Erases a user for ever, grace period or not. Without --execute it only shows the plan. "
        "Refused for a user under a legal hold, for the only owner of an organization, and when "
        "the plan named by --plan-id is no longer what would happen. Afterwards it searches for "
        "leftovers and the receipt states the result. Exit codes: 0 done, or nothing stands "
        "against it; 1 refused, nothing was done, or erased and something is left; 2 wrong usage, "
        "no such user, or a name that means several."
    )
    kind = "user"
    names = "a usr_… id, a username or an e-mail address"
