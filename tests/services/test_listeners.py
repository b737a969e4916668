import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.events import Happening, Reference, record, record_many
from audit.listeners import Told, Witness, forget, listen
from audit.models import AuditEvent

pytestmark = pytest.mark.django_db

NOW = timezone.now()
SYSTEM = Actor.system("test")


@pytest.fixture
def heard() -> Iterator[list[Told]]:
    told: list[Told] = []
    listener = told.append
    listen(listener, to={"shop.closed"})
    listen(listener, to={"shop.closed"})
    yield told
    forget(listener)


def test_a_listener_hears_of_one_event_and_what_it_says(heard: list[Told]) -> None:
    shop, owner = uuid7(), uuid7()
    event_id = record(
        "shop.closed",
        actor=SYSTEM,
        subject=Reference("shop", shop),
        now=NOW,
        organization_id=owner,
        facts={"rows": 3},
    )
    witness = Witness(event_id, shop, owner, {"rows": 3})
    assert heard == [Told("shop.closed", "shop", [witness], NOW)]


def test_a_listener_hears_of_a_set_at_once(
    heard: list[Told], django_assert_num_queries: Any
) -> None:
    shops: list[UUID] = [uuid7() for _ in range(3)]
    told = [Happening(pk, None, json.dumps({"deletion": str(pk)})) for pk in shops]
    with django_assert_num_queries(1):
        record_many("shop.closed", actor=SYSTEM, kind="shop", now=NOW, happenings=told)
    [set_of_three] = heard
    assert [one.subject_id for one in set_of_three.happenings] == shops
    assert {one.event_id for one in set_of_three.happenings} == set(
        AuditEvent.objects.filter(action="shop.closed").values_list("pk", flat=True)
    )
    assert set_of_three.happenings[0].facts == told[0].facts


def test_nobody_hears_of_what_nobody_asked_for(heard: list[Told]) -> None:
    record("shop.opened", actor=SYSTEM, subject=Reference("shop", uuid7()), now=NOW)
    record_many("shop.closed", actor=SYSTEM, kind="shop", now=NOW, happenings=[])
    assert heard == []


def test_what_a_listener_raises_undoes_the_event() -> None:
    def refuse(told: Told) -> None:
        raise RuntimeError

    listen(refuse, to={"shop.closed"})
    try:
        with pytest.raises(RuntimeError), transaction.atomic():
            record("shop.closed", actor=SYSTEM, subject=Reference("shop", uuid7()), now=NOW)
    finally:
        forget(refuse)
    assert not AuditEvent.objects.filter(action="shop.closed").exists()
