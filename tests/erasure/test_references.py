"""How subjects are spelled and read."""

from uuid import UUID

import pytest

from audit.events import Reference
from contracts import ids
from erasure.references import read, spell
from tests.factories import OrganizationFactory, UserFactory

SOME = UUID("01a21a04-18bc-728b-a1a1-88f7ffb64d82")


def test_a_kind_with_a_prefix_has_typed_ids() -> None:
    text = spell(Reference("user", SOME))
    assert text == ids.encode(ids.USER, SOME)
    assert read(text) == Reference("user", SOME)
    assert read(f"  {text}\n", "user") == Reference("user", SOME)


def test_a_kind_without_one_has_bare_ids() -> None:
    assert spell(Reference("organization", SOME)) == str(SOME)
    assert spell(Reference("gone long ago", SOME)) == str(SOME)
    assert read(str(SOME).upper(), "organization") == Reference("organization", SOME)


@pytest.mark.parametrize(
    "text", ["", "usr_", "usr_01h2xcejqtf2nbrexx3vqjhp4", "key_01h2xcejqtf2nbrexx3vqjhp41", "7"]
)
def test_what_is_no_id_names_nobody(text: str) -> None:
    assert read(text) is None
    assert read(text, "user") is None


def test_a_typed_id_names_no_other_kind() -> None:
    assert read(ids.encode(ids.USER, SOME), "organization") is None


@pytest.mark.django_db
def test_a_bare_id_is_looked_for_in_every_kind() -> None:
    user, organization = UserFactory(), OrganizationFactory()
    assert read(str(user.pk)) == Reference("user", user.pk)
    assert read(str(organization.pk)) == Reference("organization", organization.pk)
    assert read(str(SOME)) is None
