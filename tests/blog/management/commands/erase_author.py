"""``manage.py erase_author``: the plan of one author's erasure, and with --execute the erasure."""

from erasure.management.erasing import EraseCommand


class Command(EraseCommand):
    help = "Shows what an erasure of an author would do, and with --execute does it, for ever."
    kind = "author"
    names = "an id, a username or an e-mail address"
