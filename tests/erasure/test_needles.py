"""The forms of an identifier, against the encoders that produce them in real life."""

import base64
import json
import unicodedata
from urllib.parse import quote, quote_plus, urlencode
from uuid import UUID

import pytest

from erasure.needles import Matcher, TooShort

ADDRESS = "Ann+News@Example.org"


def forms(needle: str, block: bytes) -> set[str]:
    return {match.form for match in Matcher([needle]).find(block)}


@pytest.mark.parametrize(
    ("block", "form"),
    [
        (ADDRESS.encode(), "plain"),
        (ADDRESS.lower().encode(), "other case"),
        (ADDRESS.upper().encode(), "other case"),
        (quote(ADDRESS).encode(), "URL-encoded"),
        (quote(ADDRESS, safe="").lower().encode(), "URL-encoded"),
        (quote_plus(ADDRESS).encode(), "URL-encoded"),
        (urlencode({"to": ADDRESS}).encode(), "URL-encoded"),
    ],
)
def test_a_form_is_found_amid_other_text_and_named(block: bytes, form: str) -> None:
    assert forms(ADDRESS, b"before " + block + b" after") == {form}


def test_a_space_is_found_as_plus_and_as_percent_20() -> None:
    assert forms("Ann Example", b"name=Ann+Example") == {"URL-encoded"}
    assert forms("Ann Example", b"name=Ann%20Example") == {"URL-encoded"}
    assert forms("Ann Example", b"name=ANN%20EXAMPLE") == {"URL-encoded"}


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize(
    "text", [ADDRESS, ADDRESS.lower(), "\N{LATIN SMALL LETTER Y WITH DIAERESIS}>?~>?~"]
)
def test_base64_is_found_at_every_alignment_in_both_alphabets(
    before: int, after: int, text: str
) -> None:
    data = b"x" * before + text.encode() + b"y" * after
    assert "base64" in forms(text, base64.b64encode(data))
    found = forms(text, base64.urlsafe_b64encode(data))
    assert found & {"base64", "base64url"}


def test_the_lower_case_of_an_address_is_found_inside_base64() -> None:
    assert forms(ADDRESS, base64.b64encode(ADDRESS.lower().encode())) == {"base64"}


@pytest.mark.parametrize("text", ["Zoë Müller", 'Jo "the" Quick', "O'Brien & Sons"])
def test_json_as_ascii_is_found(text: str) -> None:
    assert forms(text, json.dumps({"name": text}).encode())


def test_html_is_found() -> None:
    assert forms("O'Brien", b"<b>O&#x27;Brien</b>") == {"HTML"}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_with_marks_are_found_in_either_composition_and_case(form: str) -> None:
    other = unicodedata.normalize(form, "zoë müller")  # type: ignore[arg-type]
    assert forms("Zoë Müller", other.encode())
    assert forms("Zoë Müller", "ZOË MÜLLER".encode())


UNIQUE = UUID("018f3c2a-9d1e-7abc-8def-0123456789ab")


@pytest.mark.parametrize("written", [str(UNIQUE), UNIQUE.hex, str(UNIQUE).upper()])
def test_a_uuid_is_found_with_dashes_without_and_as_bytes(written: str) -> None:
    assert forms(written, str(UNIQUE).encode()) == {"plain"}
    assert forms(written, UNIQUE.hex.upper().encode()) == {"plain"}
    assert forms(written, b"\1\2" + UNIQUE.bytes + b"\3") == {"raw bytes"}
    assert forms(written, base64.b64encode(b"k" + UNIQUE.bytes)) == {"base64 of raw bytes"}


def test_a_number_is_not_found_inside_a_longer_one() -> None:
    assert forms("12345", b"id 12345.") == {"plain"}
    assert forms("12345", b"id 123456") == set()
    assert forms("12345", b"id 912345") == set()


def test_a_batch_is_told_apart_and_one_identifier_may_lie_inside_another() -> None:
    matches = Matcher(["ann@example.org", "joann@example.org"]).find(b"joann@example.org")
    assert {match.needle for match in matches} == {0, 1}


def test_the_same_identifier_twice_is_found_for_both() -> None:
    assert [m.needle for m in Matcher(["ann@example.org"] * 2).find(b"ann@example.org")] == [0, 1]


def test_what_is_too_short_is_refused_without_being_quoted() -> None:
    with pytest.raises(TooShort, match="identifier 2 has fewer than 4 characters"):
        Matcher(["ann@example.org", "bob"])


def test_a_mask_hides_every_match() -> None:
    matcher = Matcher(["ann@example.org"])
    assert matcher.mask("exports/ANN@example.org.zip") == "exports/***.zip"
    assert matcher.mask("exports/ann%40example.org.zip") == "exports/***.zip"


def test_nothing_is_found_in_what_only_resembles_it() -> None:
    assert forms(ADDRESS, b"ann-news@example.org ann+news@example.com") == set()
