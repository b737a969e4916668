from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from contracts import ids


def test_an_id_survives_the_way_out_and_back() -> None:
    for _ in range(1000):
        value = uuid7()
        shown = ids.encode(ids.USER, value)
        assert ids.decode(ids.USER, shown) == value
        assert isinstance(ids.decode(ids.USER, shown), UUID)


def test_the_specifications_own_example() -> None:
    value = UUID("0188bac7-4afa-78aa-bc3b-bd1eef28d881")
    assert ids.encode("prefix", value) == "prefix_01h2xcejqtf2nbrexx3vqjhp41"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "usr_",
        "usr",
        "01h2xcejqtf2nbrexx3vqjhp41",
        "req_01h2xcejqtf2nbrexx3vqjhp41",
        "usr_01h2xcejqtf2nbrexx3vqjhp4",
        "usr_01h2xcejqtf2nbrexx3vqjhp411",
        "usr_81h2xcejqtf2nbrexx3vqjhp41",
        "usr_01H2XCEJQTF2NBREXX3VQJHP41",
        "usr_01h2xcejqtf2nbrexx3vqjhp4i",
        "usr_01h2xcejqtf2nbrexx3vqjhp4é",
        "usr__01h2xcejqtf2nbrexx3vqjhp41",
        "usr_01h2xcejqtf2nbrexx3vqjhp41\n",
        "\x00",
    ],
)
def test_what_is_no_id_decodes_to_nothing(text: str) -> None:
    assert ids.decode(ids.USER, text) is None


def test_a_uuid_is_read_in_its_canonical_form_only() -> None:
    text = "0188bac7-4afa-78aa-bc3b-bd1eef28d881"
    assert ids.decode_uuid(text) == ids.decode_uuid(text.upper()) == UUID(text)
    for other in (text.replace("-", ""), f"{{{text}}}", f"urn:uuid:{text}", text[:-1], "", "x"):
        assert ids.decode_uuid(other) is None
