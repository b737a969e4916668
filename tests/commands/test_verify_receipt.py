"""``verify_receipt`` works on a file alone, and its exit code says what it found."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from erasure import signing
from erasure.receipts import receipt_of
from tests.erasure.test_receipts import completed

pytestmark = pytest.mark.django_db


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    file = tmp_path / "receipt.jws"
    file.write_text(receipt_of(completed()) + "\n")
    return file


def run(*args: Any) -> str:
    out = StringIO()
    call_command("verify_receipt", *map(str, args), stdout=out)
    return out.getvalue()


def code_of(*args: Any) -> int:
    with pytest.raises(CommandError) as caught:
        run(*args)
    code: int = caught.value.returncode
    return code


def test_a_genuine_receipt_is_shown(receipt: Path) -> None:
    assert run(receipt).startswith("Genuine.\n{")
    found = json.loads(run(receipt, "--json"))
    assert found["valid"]
    assert found["claims"]["removed"]["accounts.User"] == 1


def test_anybody_can_verify_it_with_the_key_set_or_one_key(receipt: Path, tmp_path: Path) -> None:
    jwks, key = tmp_path / "jwks.json", tmp_path / "key.json"
    jwks.write_text(json.dumps(signing.key_set()))
    key.write_text(json.dumps(signing.key_set()["keys"][0]))
    with override_settings(RECEIPT_SIGNING_KEY=json.dumps(signing.make_key())):
        assert code_of(receipt) == 3
        assert run(receipt, "--jwks", jwks).startswith("Genuine.")
        assert run(receipt, "--key", key).startswith("Genuine.")


def test_a_changed_byte_is_refused(receipt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = receipt.read_text()
    head, body, tail = text.split(".")
    receipt.write_text(f"{head}.{body[:40]}{'A' if body[40] != 'A' else 'B'}{body[41:]}.{tail}")
    assert code_of(receipt) == 1


def test_a_refusal_in_json_has_its_reason(receipt: Path) -> None:
    receipt.write_text("nonsense")
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("verify_receipt", str(receipt), "--json", stdout=out)
    assert json.loads(out.getvalue()) == {
        "valid": False,
        "reason": "This is no JWS in compact form.",
    }


def test_files_that_cannot_be_read_are_wrong_usage(receipt: Path, tmp_path: Path) -> None:
    assert code_of(tmp_path / "missing") == 2
    assert code_of(receipt, "--jwks", tmp_path / "missing") == 2
    (tmp_path / "bad").write_text('{"keys": [{"kty": "RSA"}]}')
    assert code_of(receipt, "--jwks", tmp_path / "bad") == 2


def test_it_reads_standard_input(receipt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(receipt.read_text()))
    assert run("-").startswith("Genuine.")


def test_a_new_key_signs_and_its_public_half_is_shown() -> None:
    out = StringIO()
    call_command("make_receipt_key", stdout=out)
    with override_settings(RECEIPT_SIGNING_KEY=out.getvalue()):
        shown = StringIO()
        call_command("make_receipt_key", "--public", stdout=shown)
        [key] = json.loads(shown.getvalue())["keys"]
        assert key["kid"] == json.loads(out.getvalue())["kid"]
        assert "d" not in key
