"""What a closure counts and takes, on models of every shape, against a count by hand."""

import json
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models

from erasure.closure import Closure
from erasure.draining import Drain
from erasure.tally import Tally
from tests.erasure.planted import (
    KIND,
    MODELS,
    POLICIES,
    Author,
    Badge,
    Caption,
    Chore,
    Comment,
    Entry,
    File,
    Folder,
    Invoice,
    Like,
    Media,
    Photo,
    Pin,
    Post,
    Rating,
    Subscriber,
    build_closure,
)

Rows = dict[type[models.Model], dict[Any, dict[str, Any]]]
Doomed = dict[type[models.Model], set[Any]]

pytestmark = pytest.mark.usefixtures("world")


def read_world() -> Rows:
    rows: Rows = {}
    for model in MODELS:
        columns = [field.attname for field in model._meta.local_concrete_fields]
        pk: Any = model._meta.pk
        found = model._base_manager.values(*columns)
        rows[model] = {row[pk.attname]: row for row in found}
    return rows


def plant(seed: int) -> list[int]:
    """Fill the tables with a random tangle; return the authors' keys."""
    dice = random.Random(seed)
    authors = [
        Author.objects.create(
            handle=f"h{n}", email=dice.choice(["", f"A{n}@x.org", "shared@x.org"])
        )
        for n in range(5)
    ]

    def somebody() -> Any:
        return dice.choice([*authors, None])

    posts = [Post.objects.create(author=dice.choice(authors), title=f"t{n}") for n in range(8)]
    comments: list[Comment] = []
    for _ in range(30):
        comments.append(
            Comment.objects.create(
                post=dice.choice(posts),
                parent=dice.choice([*comments, None, None]),
                author=somebody(),
                approved_by=somebody(),
            )
        )
    for post in posts:
        post.best = dice.choice([*comments, None])
        post.save()
    for _ in range(30):
        Like.objects.create(
            post=dice.choice([*posts, None]),
            comment=dice.choice([*comments, None]),
            author=dice.choice(authors),
        )
    for author in dice.sample(authors, 3):
        Badge.objects.create(handle=author)
    folders = [Folder.objects.create(owner=somebody()) for _ in range(8)]
    files = [
        File.objects.create(id=UUID(int=seed * 100 + n), folder=dice.choice(folders))
        for n in range(12)
    ]
    for folder in folders:
        folder.cover = dice.choice([*files, None])
        folder.save()
    photos = [Photo.objects.create(post=dice.choice(posts), size=n) for n in range(6)]
    media = [Media.objects.create(size=0), *photos]
    for _ in range(6):
        Caption.objects.create(media=dice.choice(media))
    for _ in range(10):
        address = dice.choice(["a0@X.org", "a1@x.ORG", "SHARED@x.org", "other@x.org", ""])
        Subscriber.objects.create(address=address, is_fixed=dice.random() < 0.3)
    for _ in range(10):
        Entry.objects.create(
            kind=dice.choice(["author", "other"]),
            key=str(dice.choice(authors).pk),
            text=dice.choice(["about h0", "about h3", "else"]),
        )
        Invoice.objects.create(author=somebody(), amount=1)
        Rating.objects.create(author=somebody(), words="w", stars=1)
        Pin.objects.create(by=dice.choice(["h0", "h1", "h4", ""]))
        quoted = [str(KIND.id_of(one.pk)) for one in dice.sample(authors, dice.randint(0, 2))]
        Chore.objects.create(arguments={"ids": quoted, "again": quoted})
    return [author.pk for author in authors]


def doom(rows: Rows, keys: Collection[int], *, with_matches: bool) -> Doomed:
    """Return by hand what goes with some authors, following links until nothing more is found."""
    doomed: Doomed = {model: set() for model in MODELS}
    doomed[Author] = set(keys)
    gone = [rows[Author][key] for key in keys]
    handles = {row["handle"] for row in gone}
    addresses = {row["email"].lower() for row in gone if row["email"]}
    ids = {str(KIND.id_of(key)) for key in keys}
    first: Mapping[type[models.Model], Callable[[dict[str, Any]], bool]] = {
        Post: lambda row: row["author_id"] in doomed[Author],
        Comment: lambda row: row["post_id"] in doomed[Post] or row["parent_id"] in doomed[Comment],
        Like: lambda row: (
            row["post_id"] in doomed[Post]
            or row["comment_id"] in doomed[Comment]
            or row["author_id"] in doomed[Author]
        ),
        Badge: lambda row: row["handle_id"] in handles,
        Folder: lambda row: row["owner_id"] in doomed[Author] or row["cover_id"] in doomed[File],
        File: lambda row: row["folder_id"] in doomed[Folder],
        Photo: lambda row: row["post_id"] in doomed[Post],
        Media: lambda row: row["id"] in doomed[Photo],
        Caption: lambda row: row["media_id"] in doomed[Media],
        Subscriber: lambda row: row["address"].lower() in addresses and not row["is_fixed"],
        Entry: lambda row: (
            with_matches and row["text"] in {f"about {handle}" for handle in handles}
        ),
        Chore: lambda row: bool(ids & set(row["arguments"]["ids"])),
    }
    grown = True
    while grown:
        before = sum(map(len, doomed.values()))
        for model, goes in first.items():
            doomed[model] |= {key for key, row in rows[model].items() if goes(row)}
        grown = sum(map(len, doomed.values())) > before
    return doomed


def expect(  # noqa: C901
    rows: Rows, keys: Collection[int], *, with_matches: bool = True
) -> tuple[Rows, dict[str, dict[str, int]]]:
    """Return by hand the world without some authors, and what was done to how many rows."""
    doomed = doom(rows, keys, with_matches=with_matches)
    left: Rows = {
        model: {key: dict(row) for key, row in found.items() if key not in doomed[model]}
        for model, found in rows.items()
    }
    changed: dict[str, dict[str, set[Any]]] = {"detached": {}, "anonymised": {}}

    def change(part: str, model: type[models.Model], key: Any, **values: Any) -> None:
        left[model][key].update(values)
        changed[part].setdefault(model._meta.label, set()).add(key)

    for key, row in left[Comment].items():
        for link in ("author_id", "approved_by_id"):
            if row[link] in doomed[Author]:
                change("detached", Comment, key, **{link: None})
    for key, row in left[Post].items():
        if row["best_id"] in doomed[Comment]:
            change("detached", Post, key, best_id=None)
    for key, row in left[Entry].items():
        if row["kind"] == "author" and row["key"] in {str(one) for one in keys}:
            change("anonymised", Entry, key, text="gone")
    handles = {rows[Author][key]["handle"] for key in keys}
    for key, row in left[Pin].items():
        if row["by"] in handles:
            change("detached", Pin, key, by="")
    for key, row in left[Rating].items():
        if row["author_id"] in doomed[Author]:
            change("anonymised", Rating, key, words="", author_id=None)
    counts = {
        "removed": {model._meta.label: len(found) for model, found in doomed.items() if found}
    }
    counts |= {
        part: {label: len(found) for label, found in by.items()} for part, by in changed.items()
    }
    return left, counts


def total(tallies: Collection[Tally]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {"removed": {}, "detached": {}, "anonymised": {}}
    for tally in tallies:
        for part, whole in found.items():
            for counts in getattr(tally, part).values():
                for label, rows in counts.items():
                    whole[label] = whole.get(label, 0) + rows
    return found


def check_keys() -> None:
    """Fail when a foreign key leads nowhere: what a deferred constraint finds at the commit."""
    connection.check_constraints()


def erase_as_a_set(closure: Closure, ids: list[UUID]) -> list[Tally]:
    return [closure.carry_out(ids)]


def erase_one_by_one(closure: Closure, ids: list[UUID]) -> list[Tally]:
    return [closure.carry_out([one]) for one in ids]


def drain(closure: Closure, one: UUID, size: int, cursor: Any = None) -> Iterator[Tally]:
    """Drain a subject, each piece by a worker who knows no more than the cursor."""
    cursor = cursor or {"at": "the beginning"}
    while cursor:
        tally, cursor = Drain(closure, one, cursor=cursor).work(seconds=0, limit=size)
        assert json.loads(json.dumps(cursor)) == cursor
        yield tally


def erase_piece_by_piece(closure: Closure, ids: list[UUID]) -> list[Tally]:
    done: list[Tally] = []
    for one in ids:
        done += drain(closure, one, 3)
        last = closure.carry_out([one])
        assert last.removed == {one: {"planted.Author": 1}}, "something was left behind"
        assert not last.detached
        done.append(last)
    return done


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("erase", [erase_as_a_set, erase_one_by_one, erase_piece_by_piece])
def test_a_set_takes_what_a_count_by_hand_says(
    erase: Callable[[Closure, list[UUID]], list[Tally]], seed: int, size: int
) -> None:
    keys = plant(seed)[:size]
    closure = build_closure()
    left, counts = expect(read_world(), keys)
    ids = [KIND.id_of(key) for key in keys]
    counted = closure.count(ids)
    before = read_world()
    done = total(erase(closure, ids))
    check_keys()
    assert read_world() == left
    if erase is erase_as_a_set:
        assert total([counted]) == counts
    assert done["removed"] == counts["removed"]
    # One by one, a link is cleared of a row that goes with the next subject, and counted as such.
    if erase is erase_as_a_set or len(ids) == 1:
        assert done == counts
    assert before != left


def test_a_closure_is_used_again_for_others() -> None:
    """Its SQL is written once, unless it asks for the subjects' instances."""
    keys = plant(7)
    plain = {
        model: replace(found, loose=tuple(one for one in found.loose if one.match is None))
        for model, found in POLICIES.items()
    }
    closure = Closure(KIND, plain)
    for key in keys[:3]:
        ids = [KIND.id_of(key)]
        left, counts = expect(read_world(), [key], with_matches=False)
        assert total([closure.count(ids)]) == counts
        if key == keys[1]:
            list(drain(closure, ids[0], 4))
        closure.carry_out(ids)
        check_keys()
        assert read_world() == left


def test_nobody_is_nothing() -> None:
    closure = build_closure()
    assert closure.count([]) == closure.carry_out([]) == Tally()
    plant(1)
    before = read_world()
    assert closure.carry_out([KIND.id_of(999_999)]) == Tally()
    assert read_world() == before


def test_a_cursor_from_other_policies_starts_again() -> None:
    (key, *_) = plant(2)
    closure, one = build_closure(), KIND.id_of(key)
    _, cursor = Drain(closure, one).work(seconds=0, limit=1)
    assert cursor
    list(drain(closure, one, 5, {**cursor, "at": "removed gone.Model 3 0"}))
    assert closure.carry_out([one]).removed == {one: {"planted.Author": 1}}


def test_models_can_be_spared() -> None:
    (key, *_) = plant(3)
    closure, one = build_closure(), KIND.id_of(key)
    likes = Like.objects.count()
    spared = [step.label for step in closure.steps if step.model in (Author, Like)]
    tally = closure.carry_out([one], spare=spared)
    assert "planted.Author" not in tally.removed.get(one, {})
    assert "planted.Like" not in tally.removed.get(one, {})
    # What the database takes along is its own affair, and is not counted.
    assert Like.objects.count() <= likes
    assert Author.objects.filter(pk=key).exists()
