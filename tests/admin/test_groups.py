"""Groups grant permissions: whatever is done to them is in the audit log."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.test import Client
from uuid_utils.compat import uuid7

from accounts.admin import GroupAdmin
from audit.models import AuditEvent
from erasure.desk import pages
from tests.admin.desk import sign_in, sign_in_superuser, text_of

pytestmark = pytest.mark.django_db

URL = "/admin/auth/group/"


def told() -> list[tuple[Any, ...]]:
    """Return what the log says: actions, who acted, and the facts."""
    events = AuditEvent.objects.order_by("id")
    assert {(it.subject_kind, it.subject_id, it.channel) for it in events} <= {("", None, "admin")}
    return [(it.action, it.actor_id, it.facts) for it in events]


def select(*groups: Group, **data: str) -> dict[str, Any]:
    chosen = [str(it.pk) for it in groups]
    return {"action": "delete_selected", "index": "0", "_selected_action": chosen, **data}


def test_what_is_done_to_a_group_is_an_event_each_time(client: Client) -> None:
    staff = sign_in_superuser(client)
    erase = Permission.objects.get(codename="erase_user")
    client.post(f"{URL}add/", {"name": "erasers"})
    group = Group.objects.get(name="erasers")
    client.post(f"{URL}{group.pk}/change/", {"name": "erasers", "permissions": [str(erase.pk)]})
    client.post(f"{URL}{group.pk}/delete/", {"post": "yes"})
    facts = {"model": "auth.Group", "id": group.pk}
    assert told() == [
        ("admin.added", staff.pk, facts),
        ("admin.changed", staff.pk, {**facts, "fields": ["Permissions"]}),
        ("admin.deleted", staff.pk, facts),
    ]
    assert LogEntry.objects.count() == 3


def test_groups_that_are_deleted_from_the_list_are_events_too(client: Client) -> None:
    staff = sign_in_superuser(client)
    one, two, three = (Group.objects.create(name=name) for name in ("one", "two", "three"))
    page = text_of(client.post(URL, select(one, two)))
    assert "Delete multiple objects" in page
    assert (told(), Group.objects.count()) == ([], 3)
    client.post(URL, select(one, two, post="yes"))
    assert list(Group.objects.all()) == [three]
    assert sorted(told(), key=lambda it: int(it[2]["id"])) == [
        ("admin.deleted", staff.pk, {"model": "auth.Group", "id": it.pk}) for it in (one, two)
    ]


def fail(*args: Any) -> None:
    raise OSError


def test_a_deletion_from_the_list_that_fails_leaves_no_event(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in_superuser(client)
    group = Group.objects.create(name="one")
    monkeypatch.setattr(GroupAdmin, "delete_queryset", fail)
    with pytest.raises(OSError, match=r"^$"):
        client.post(URL, select(group, post="yes"))
    assert (told(), LogEntry.objects.count()) == ([], 0)


def test_without_the_event_a_group_stays_as_it_was(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in_superuser(client)
    group = Group.objects.create(name="one")
    monkeypatch.setattr(pages, "record_entry", fail)
    for path, data in (
        ("add/", {"name": "two"}),
        (f"{group.pk}/change/", {"name": "two"}),
        (f"{group.pk}/delete/", {"post": "yes"}),
        ("", select(group, post="yes")),
    ):
        with pytest.raises(OSError, match=r"^$"):
            client.post(f"{URL}{path}", data)
    assert [it.name for it in Group.objects.all()] == ["one"]
    assert LogEntry.objects.count() == 0


def test_only_whoever_may_delete_groups_is_offered_it(client: Client) -> None:
    sign_in(client, "auth.view_group", "auth.change_group")
    assert "delete_selected" not in text_of(client.get(URL))
    sign_in(client, "auth.view_group", "auth.delete_group")
    assert "Delete selected groups" in text_of(client.get(URL))


def test_groups_are_found_by_name_whatever_it_looks_like(client: Client) -> None:
    sign_in_superuser(client)
    Group.objects.create(name="one")
    odd = Group.objects.create(name=str(uuid7()))
    found = client.get(URL, {"q": odd.name}).context["cl"].result_list
    assert [row.pk for row in found] == [odd.pk]
