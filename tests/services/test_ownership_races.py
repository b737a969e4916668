"""Two owners leave at once: the organization keeps one of them.

Each race runs on real connections behind a barrier. The positive control takes the lock out and
must orphan organizations; otherwise the race proves nothing.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Barrier, BrokenBarrierError, Thread
from typing import Any

import pytest
from django.db import OperationalError, connection, models
from django.utils import timezone

from accounts.services import erase_own_account, set_active, soft_delete_own_account
from audit.actors import Actor
from organizations.exceptions import SoleOwner
from organizations.models import Membership, Organization
from organizations.services import delete_organization
from tests.bystanders import charlie_untouched
from tests.factories import ManagedUserFactory, MembershipFactory, OrganizationFactory

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 12


def actor_of(user: Any) -> Actor:
    return Actor(kind="user", id=user.pk, channel="test", person_id=user.pk)


def soft_delete(user: Any) -> None:
    soft_delete_own_account(actor=actor_of(user), user_id=user.pk, now=timezone.now())


def erase(user: Any) -> None:
    erase_own_account(actor=actor_of(user), now=timezone.now())


def deactivate(user: Any) -> None:
    set_active(actor=Actor.system("test"), user_id=user.pk, is_active=False, now=timezone.now())


LEAVES: list[Callable[[Any], None]] = [soft_delete, erase, deactivate]


def race(*calls: Callable[[], object], patience: float = 0.05) -> list[type[Exception] | None]:
    """Run calls at the same moment, each on a connection of its own; return what each raised.

    They start behind one barrier and meet at a second one between their decision and their first
    write, the moment at which a missing lock shows. Whoever waits for a lock there does not come,
    and the other goes on when its ``patience`` is over.
    """
    start, meeting = Barrier(len(calls)), Barrier(len(calls))
    raised: list[type[Exception] | None] = [None] * len(calls)

    def run(index: int) -> None:
        met = False

        def meet(execute: Any, sql: str, *rest: Any) -> Any:
            nonlocal met
            if not met and sql.startswith(("INSERT", "UPDATE", "DELETE")):
                met = True
                with suppress(BrokenBarrierError):
                    meeting.wait(patience)
            return execute(sql, *rest)

        try:
            connection.ensure_connection()
            start.wait(60)
            with connection.execute_wrapper(meet):
                calls[index]()
        except Exception as error:  # noqa: BLE001 - handed to the test
            raised[index] = type(error)
        finally:
            connection.close()

    threads = [Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def ownerless() -> int:
    owned = Membership.objects.live_owners().values("organization")
    return Organization.objects.exclude(pk__in=owned).count()


@pytest.mark.parametrize("first", LEAVES)
@pytest.mark.parametrize("second", LEAVES)
def test_of_two_owners_who_leave_at_once_one_stays(
    first: Callable[[Any], None], second: Callable[[Any], None]
) -> None:
    with charlie_untouched():
        for _ in range(ROUNDS):
            acme = OrganizationFactory()
            alice, bob = (MembershipFactory(organization=acme, role="owner").user for _ in range(2))
            raised = race(partial(first, alice), partial(second, bob))
            assert sorted(map(str, raised)) == sorted(map(str, [None, SoleOwner]))
        assert ownerless() == 0


def test_without_the_lock_the_race_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL without FOR UPDATE orphans; SQLite without BEGIN IMMEDIATE fails with locks."""
    went_wrong = 0
    for _ in range(ROUNDS):
        acme = OrganizationFactory()
        alice, bob = (MembershipFactory(organization=acme, role="owner").user for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(models.QuerySet, "select_for_update", lambda self, **_: self.all())
            if connection.vendor == "sqlite":
                options = connection.settings_dict["OPTIONS"]
                patch.setitem(options, "transaction_mode", "DEFERRED")
                patch.setitem(options, "timeout", 0.2)
            # Nobody waits for a lock here, so both come to the meeting, however late.
            raised = race(partial(soft_delete, alice), partial(soft_delete, bob), patience=10)
        live = Membership.objects.live_owners().filter(organization=acme)
        went_wrong += not live.exists() or OperationalError in raised
    assert went_wrong >= ROUNDS // 2


def test_two_teardowns_that_need_each_others_organization_do_not_deadlock() -> None:
    for _ in range(ROUNDS):
        left, right = OrganizationFactory(), OrganizationFactory()
        owners = [MembershipFactory(organization=it, role="owner").user for it in (left, right)]
        for managing, other in ((left, right), (right, left)):
            user = ManagedUserFactory(organization=managing).user
            MembershipFactory(user=user, organization=other, role="owner")
        raised = race(
            *(
                partial(
                    delete_organization,
                    actor=actor_of(user),
                    organization_id=it.pk,
                    now=timezone.now(),
                )
                for user, it in zip(owners, (left, right), strict=True)
            )
        )
        assert set(raised) <= {None, SoleOwner}
        assert None in raised
