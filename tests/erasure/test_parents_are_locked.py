"""A stranger adds a comment to the subject's post while the post goes."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from erasure import carrying
from erasure.closure import closure_of
from erasure.tally import Tally
from tests.erasure import planted
from tests.erasure.planted import KIND, Author, Comment, Post, build_closure

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = 60


@pytest.fixture
def tables(planted_tables: None, transactional_db: None, vendor: str) -> Iterator[None]:
    if vendor == "sqlite":
        pytest.skip("SQLite has one writer: nobody comes in between")
    yield
    # The tables are none of Django's own, so that nobody else empties them.
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE " + ", ".join(m._meta.db_table for m in planted.MODELS))


def wait_until_somebody_waits() -> None:
    """Return once another connection of this database waits for a lock."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def erase_while_a_stranger_comments() -> dict[str, int]:
    """Return what the erasure says that it took."""
    author = Author.objects.create(handle="a")
    post = Post.objects.create(author=author, title="t")
    done: list[Tally] = []

    def erase() -> None:
        try:
            with transaction.atomic():
                done.append(build_closure().carry_out([KIND.id_of(author.pk)]))
        finally:
            connection.close()

    with transaction.atomic():
        # A careful stranger, who keeps the post from changing until the comment is there.
        Post.objects.select_for_update().get(pk=post.pk)
        Comment.objects.create(post=post)
        eraser = threading.Thread(target=erase)
        eraser.start()
        wait_until_somebody_waits()
    eraser.join(PATIENCE)
    assert not Comment.objects.exists()
    assert not Author.objects.exists()
    return done[0].removed[KIND.id_of(author.pk)]


def test_the_comment_is_counted_with_the_post(tables: None) -> None:
    assert erase_while_a_stranger_comments() == {
        "planted.Author": 1,
        "planted.Comment": 1,
        "planted.Post": 1,
    }


def test_without_the_lock_the_cascade_takes_it_uncounted(
    tables: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "lock_parents", lambda *args: None)
    assert erase_while_a_stranger_comments() == {"planted.Author": 1, "planted.Post": 1}


def test_locks_are_taken_only_where_something_hangs_on_what_goes() -> None:
    found: list[Any] = closure_of("organization").parents
    parents = {"oauth.Application", "webhooks.Delivery", "webhooks.Endpoint"}
    assert {model._meta.label for model in found} == parents
