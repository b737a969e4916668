"""On a database that is older than its ledger no command shows, erases or lets in the erased; the
brake works all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from accounts.models import User
from apikeys.models import ApiKey
from audit.actors import Actor
from audit.events import Reference
from erasure import gate
from erasure.executor import erase_now
from erasure.models import Pause
from tests.bystanders import charlie_untouched
from tests.commands.shell import run
from tests.factories import SessionFactory, UserFactory
from tests.ledgers import Backup, a_ledger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def erased(tmp_path: Path) -> Iterator[User]:
    """Somebody who was erased and is back with a backup."""
    with a_ledger(tmp_path) as made:
        assert gate.look() == ""
        made.create()
        with charlie_untouched():
            user = UserFactory(username="ann.canary")
            SessionFactory(user=user, expire_date=timezone.now().replace(year=2020))
            backup = Backup()
            subject = Reference("user", user.pk)
            erase_now(actor=Actor.system("test"), subject=subject, now=timezone.now())
            backup.restore()
            gate.forget()
            yield user


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("verify_erasure", "ann.canary"), 3),
        (("housekeep", "--execute"), 1),
        (("issue_key", "--user", "ann.canary"), 1),
        (("purge_accounts",), 3),
    ],
    ids=lambda it: it[0] if isinstance(it, tuple) else "",
)
def test_it_refuses_and_names_the_way_out(
    erased: User, command: tuple[str, ...], code: int
) -> None:
    found, said = run(*command)
    assert found == code
    assert "replay_erasures --execute" in said
    assert User.objects.filter(pk=erased.pk).exists()
    assert not ApiKey.objects.filter(user=erased).exists()


@pytest.mark.usefixtures("erased")
def test_the_brake_works_always() -> None:
    assert run("pause_erasures", "place", "--reason", "Wait.")[0] == 0
    assert Pause.objects.standing().count() == 1
    assert "Wait." in run("pause_erasures", "list")[1]
    assert run("pause_erasures", "release")[0] == 0
