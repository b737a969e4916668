"""How large each proof is: short in every run, long with ``pytest -m long``."""

import pytest


def sizes(short: int, long: int) -> pytest.MarkDecorator:
    """Return the two forms of a proof, as parameters."""
    return pytest.mark.parametrize("size", [short, pytest.param(long, marks=pytest.mark.long)])


BACKUPS = sizes(20, 1_000)
RECEIPTS = sizes(50, 1_000)
# Graphs on each database.
BYSTANDERS = sizes(1_000, 10_000)
# Death before and after every second commit: what is after one is before the next. Or at each.
EVERY_COMMIT = sizes(2, 1)
INSTANTS = sizes(10, 500)
# In sets and in pieces, on two databases: each race is run four times as often, 200 and 10,000.
RACES = sizes(50, 2_500)
POISONED = sizes(50, 1_000)
# Races of each of 28 pairs on each database; the control is of one database.
OWNERLESS = sizes(200, 10_000)
REOPENED = sizes(20, 2_500)
OWNERLESS_CONTROL = sizes(4, 100)
SIGNED = sizes(200, 10_000)
# Of the audit log: how often it is tampered with, and how many events it has. Ten logs, for each is
# one transaction, in which PostgreSQL slows down with every change that is undone.
TAMPERED = pytest.mark.parametrize(
    ("seed", "size", "events"),
    [
        (0, 60, 600),
        *(pytest.param(it, 1_000, 100_000, marks=pytest.mark.long) for it in range(1, 11)),
    ],
)
ERASED = pytest.mark.parametrize("events", [600, pytest.param(100_000, marks=pytest.mark.long)])
# Operations through every path of the service, on each database.
RECONCILED = sizes(150, 10_000)
RUN_ORGANIZATIONS = sizes(300, 10_000)
# Of each thing that an organization can have many of, torn down as small and as large.
WHOLE = sizes(3, 300)
