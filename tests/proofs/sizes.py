"""How large each proof is: short in every run, long with ``pytest -m long``."""

import pytest


def sizes(short: int, long: int) -> pytest.MarkDecorator:
    """Return the two forms of a proof, as parameters."""
    return pytest.mark.parametrize("size", [short, pytest.param(long, marks=pytest.mark.long)])


BACKUPS = sizes(20, 1_000)
RECEIPTS = sizes(50, 1_000)
BYSTANDERS = sizes(80, 10_000)
INSTANTS = sizes(20, 500)
RACES = sizes(50, 2_500)
POISONED = sizes(50, 1_000)
