"""A log to be tampered with, and where its files go."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from audit.verifying import Kept
from tests.audit.logs import make_people, seal_all, write_log
from tests.databases import triggers_off


@pytest.fixture
def kept() -> Iterator[Kept]:
    """A log of 300 events with a checkpoint that was kept when it had 200 of them."""
    people = make_people(10)
    start = timezone.now()
    write_log(people, 200, start=start)
    kept = seal_all()
    write_log(people, 100, start=start + timedelta(hours=1))
    seal_all()
    with triggers_off():
        yield kept


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export.jsonl"
