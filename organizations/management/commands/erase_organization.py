"""``manage.py erase_organization``: one organization with all it owns, after a look at the plan."""

from erasure.management.erasing import EraseCommand


class Command(EraseCommand):
    help = (
        "Erases an organization for ever, with everything that it owns and the users that it "
        "manages. Without --execute it only shows the plan. Refused under a legal hold, when a "
        "managed user is the only owner of another organization, and when the plan named by "
        "--plan-id is no longer what would happen. Afterwards it searches for leftovers and the "
        "receipt states the result. Exit codes: 0 done, or nothing stands against it; 1 refused, "
        "nothing was done, or erased and something is left; 2 wrong usage, no such organization, "
        "or a name that means several."
    )
    kind = "organization"
    names = "a UUID or a slug"
