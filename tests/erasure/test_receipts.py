"""Receipts: what they say, that anybody can verify them, that nothing in them can be changed."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from joserfc import jws as joserfc_jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import KeySet
from uuid_utils.compat import uuid7

from erasure import receipts, signing
from erasure.models import DeletionRequest, Statement
from erasure.policies import DELETE, Anonymise, Detach, Keep, Loose
from erasure.receipts import Finished, ReceiptMissing, payload, receipt_of, sign_many, verify
from erasure.signing import InvalidReceipt, UnknownKey

pytestmark = pytest.mark.django_db

AT = datetime(2026, 3, 1, 23, 59, 59, 123456, UTC)
ENTRY = UUID("019c0000-0000-7000-8000-000000000001")


def completed(**fields: Any) -> DeletionRequest:
    """Return the row of a finished deletion, signed as the executor signs it."""
    made: dict[str, Any] = {
        "subject_kind": "user",
        "subject_id": uuid7(),
        "state": "completed",
        "channel": "account",
        "requested_by_kind": "user",
        "requested_by_id": uuid7(),
        "requested_at": AT - timedelta(days=14),
        "due_at": AT,
        "started_at": AT - timedelta(minutes=2),
        "finished_at": AT,
        "ledger_entry": ENTRY,
        "counts": {"organizations.Membership": 2, "accounts.User": 1, "apikeys.ApiKey": 14},
    }
    request = DeletionRequest(**{**made, **fields})
    [(request.signature, request.statement)] = sign_many([request])
    request.save(force_insert=True)
    stored: DeletionRequest = DeletionRequest.objects.get(pk=request.pk)
    return stored


def keys() -> list[dict[str, str]]:
    return signing.key_set()["keys"]


def test_a_receipt_says_what_was_done() -> None:
    request = completed(told=["mail"], searched={"hits": 0, "at": "2026-03-02"})
    claims = verify(receipt_of(request), keys())
    statement = claims.pop("statement")
    assert claims == {
        "iss": "Sexton",
        "jti": str(request.pk),
        "sub": f"user:{request.subject_id}",
        "iat": int(AT.timestamp()),
        "channel": "account",
        "requested_by": "user",
        "requested_at": "2026-02-15T23:59:59.123456+00:00",
        "started_at": "2026-03-01T23:57:59.123456+00:00",
        "finished_at": "2026-03-01T23:59:59.123456+00:00",
        "ledger_entry": str(ENTRY),
        "generation": 1,
        "removed": {"accounts.User": 1, "apikeys.ApiKey": 14, "organizations.Membership": 2},
        "rows": 17,
        "told": ["mail"],
        "backups_until": "2026-03-31",
        "residual_search": {"hits": 0, "at": "2026-03-02"},
    }
    assert statement["software"] == "Sexton 0.1"
    assert statement["basis"] == "Art. 17(1) GDPR"
    assert statement["backup_retention_days"] == 30
    assert statement.keys() >= {"kept", "detached", "anonymised", "ledger"}


def test_its_payload_is_canonical_json_and_rebuilt_to_the_byte() -> None:
    request = completed(channel='quo"ted\\ é', told=["mail", "link"])
    text = payload(request)
    again = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()
    assert text == again
    assert payload(DeletionRequest.objects.get(pk=request.pk)) == text


def test_whoever_signs_without_a_row_signs_the_same() -> None:
    request = completed()
    assert request.started_at
    [(signature, statement)] = sign_many(
        [
            Finished(
                id=request.pk,
                subject_kind="user",
                subject_id=request.subject_id,
                generation=1,
                channel="account",
                requested_by_kind="user",
                requested_at=request.requested_at,
                started_at=request.started_at,
                finished_at=AT.astimezone(),
                ledger_entry=ENTRY,
                counts={"apikeys.ApiKey": 14, "accounts.User": 1, "organizations.Membership": 2},
            )
        ]
    )
    assert request.signature is not None
    assert (signature, statement) == (bytes(request.signature), request.statement)


def test_other_libraries_verify_it() -> None:
    request = completed()
    token = receipt_of(request)
    key = jwt.PyJWK(keys()[0]).key
    assert jwt.decode(token, key, algorithms=["EdDSA"])["jti"] == str(request.pk)
    public: Any = KeySet.import_key_set(signing.key_set())  # type: ignore[arg-type]
    # RFC 9864 renames the algorithm; the old name is the one that every library knows.
    with pytest.warns(SecurityWarning):
        found = joserfc_jws.deserialize_compact(token, public, algorithms=["EdDSA"])
    assert json.loads(found.payload)["jti"] == str(request.pk)


def test_no_byte_of_it_can_be_changed() -> None:
    token = receipt_of(completed())
    for place, old in enumerate(token):
        for new in {"A", "B", "."} - {old}:
            with pytest.raises(InvalidReceipt):
                verify(token[:place] + new + token[place + 1 :], keys())


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": {"accounts.User": 2}},
        {"told": ["mail"]},
        {"channel": "admin"},
        {"generation": 2},
        {"started_at": AT},
        {"finished_at": AT + timedelta(microseconds=1)},
        {"ledger_entry": uuid7()},
        {"subject_id": uuid7()},
        {"searched": {"hits": 0}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_row_that_is_changed_later_has_no_genuine_receipt(changes: dict[str, Any]) -> None:
    request = completed()
    DeletionRequest.objects.filter(pk=request.pk).update(**changes)
    request.refresh_from_db()
    with pytest.raises(InvalidReceipt):
        verify(receipt_of(request), keys())


def test_what_becomes_known_later_is_signed_again() -> None:
    request = completed()
    request.searched = {"hits": 0, "at": "2026-03-02T00:00:00+00:00"}
    request.save()
    receipts.sign_again(request)
    request.refresh_from_db()
    assert verify(receipt_of(request), keys())["residual_search"]["hits"] == 0


def test_where_there_is_no_ledger_it_names_no_entry() -> None:
    text = payload(completed(ledger_entry=None, started_at=None))
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()
    assert json.loads(text)["ledger_entry"] is json.loads(text)["started_at"] is None


def test_an_open_deletion_has_no_receipt() -> None:
    request = DeletionRequest(subject_kind="user", subject_id=uuid7())
    with pytest.raises(ReceiptMissing):
        receipt_of(request)
    with pytest.raises(ReceiptMissing):
        payload(request)


def test_hundreds_share_one_statement_and_one_query() -> None:
    base = completed()
    many = [Finished(*[getattr(base, name) for name in Finished._fields]) for _ in range(300)]
    with CaptureQueriesContext(connection) as captured:
        sign_many(many)
    assert len([q for q in captured if "SAVEPOINT" not in q["sql"]]) == 1
    assert Statement.objects.count() == 1


def test_a_change_of_the_rules_makes_a_new_statement_and_old_receipts_keep_theirs() -> None:
    before = completed()
    with override_settings(BACKUP_RETENTION_DAYS=90):
        after = completed()
    assert before.statement != after.statement
    assert verify(receipt_of(before), keys())["backups_until"] == "2026-03-31"
    assert verify(receipt_of(after), keys())["backups_until"] == "2026-05-30"


def test_no_receipt_holds_personal_data() -> None:
    request = completed(reference="case of Alice Smith", before={"email": "alice@example.com"})
    text = payload(request).decode()
    assert "alice" not in text.lower()
    assert str(request.requested_by_id) not in text


# --- what stays ----------------------------------------------------------------------------------


def test_it_says_what_stays_why_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    from erasure import grounds, policies
    from erasure.subjects import SubjectKind, _kinds

    class Kind(SubjectKind):
        name = "grounded"
        model_label = "accounts.User"

    monkeypatch.setitem(_kinds, "grounded", Kind())
    monkeypatch.setattr(policies, "_policies", {})
    year = timedelta(days=365)
    policies.policy("accounts.Session", links={"user": DELETE})
    policies.policy(
        "apikeys.ApiKey", links={"user": Detach("Another one's."), "created_by": DELETE}
    )
    policies.policy(
        "organizations.Membership", links={"user": Anonymise({"role": "member"}, "It counts.")}
    )
    policies.policy(
        "audit.AuditEvent",
        loose=[
            Loose("subject_id", kind="*", fate=Keep("Proof.", "Art. 17(3)(e) GDPR", year)),
            Loose("actor_id", kind="*", fate=Keep("Proof.", "Art. 17(3)(e) GDPR", year)),
            Loose("organization_id", kind="organization", fate=Keep("No.", "none", None)),
        ],
    )
    assert grounds.describe_grounds("grounded") == {
        "kept": [
            {
                "rows": "audit.AuditEvent",
                "because": "Proof.",
                "basis": "Art. 17(3)(e) GDPR",
                "retention_days": 365,
            }
        ],
        "detached": [{"rows": "apikeys.ApiKey", "because": "Another one's."}],
        "anonymised": [
            {"rows": "organizations.Membership", "because": "It counts.", "fields": ["role"]}
        ],
    }


# --- keys ----------------------------------------------------------------------------------------


@pytest.fixture
def new_key() -> dict[str, str]:
    return signing.make_key()


def test_a_key_in_every_form_is_the_same_key(new_key: dict[str, str], tmp_path: Path) -> None:
    private = Ed25519PrivateKey.from_private_bytes(signing.decode(new_key["d"].encode()))
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    file = tmp_path / "key"
    file.write_text(pem)
    for text in (json.dumps(new_key), pem, pem.replace("\n", "\\n"), str(file)):
        with override_settings(RECEIPT_SIGNING_KEY=text):
            assert signing.signing_key().kid == new_key["kid"]
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    wanted = [signing.public_jwk(private.public_key())]
    for text in (public.decode(), pem, json.dumps(wanted[0]), json.dumps({"keys": wanted})):
        assert signing.read_keys(text) == wanted


def test_after_a_rotation_old_receipts_still_verify(new_key: dict[str, str]) -> None:
    old = receipt_of(completed())
    old_keys = json.dumps(signing.key_set())
    with override_settings(RECEIPT_SIGNING_KEY=json.dumps(new_key), RECEIPT_KEYS=old_keys):
        request = completed()
        assert len(keys()) == 2
        assert keys()[0]["kid"] == new_key["kid"]
        assert "d" not in keys()[0]
        assert verify(old, keys())
        assert verify(receipt_of(request), keys())
    with override_settings(RECEIPT_SIGNING_KEY=json.dumps(new_key)), pytest.raises(UnknownKey):
        verify(old, keys())
    assert receipt_of(request).split(".")[0] != old.split(".")[0]


def other_curve() -> str:
    return (
        generate_private_key(SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


@pytest.mark.parametrize("bad", ["{}", '{"d":"short"}', "/no/such/file", other_curve()])
def test_a_key_that_is_none_is_named(bad: str) -> None:
    with (
        override_settings(RECEIPT_SIGNING_KEY=bad),
        pytest.raises(ImproperlyConfigured, match="make_receipt_key"),
    ):
        signing.signing_key()


def test_a_missing_key_is_named() -> None:
    with (
        override_settings(RECEIPT_SIGNING_KEY="", RECEIPT_KEY_FILE=None),
        pytest.raises(ImproperlyConfigured, match="make_receipt_key"),
    ):
        signing.signing_key()


def test_development_makes_its_own_key_once(tmp_path: Path) -> None:
    file = tmp_path / "made" / "key.json"
    with override_settings(RECEIPT_SIGNING_KEY="", RECEIPT_KEY_FILE=file):
        kid = signing.signing_key().kid
        signing._load.cache_clear()
        assert signing.signing_key().kid == kid
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_threads_that_make_it_at_once_have_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, link, meeting = tmp_path / "key.json", os.link, Barrier(2)

    def meet(draft: Any, path: Any) -> None:
        meeting.wait(60)
        link(draft, path)

    def make() -> str:
        return signing.signing_key().kid

    monkeypatch.setattr(os, "link", meet)
    with (
        override_settings(RECEIPT_SIGNING_KEY="", RECEIPT_KEY_FILE=file),
        ThreadPoolExecutor(2) as pool,
    ):
        kids = {it.result(60) for it in [pool.submit(make), pool.submit(make)]}
    assert kids == {json.loads(file.read_text())["kid"]}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("bad", ["", "a.b", "a.b.c.d", "é.b.c", "e30.e30.", '"x".e30.AA'])
def test_what_is_no_jws_is_refused(bad: str) -> None:
    with pytest.raises(InvalidReceipt):
        verify(bad, keys())


@pytest.mark.parametrize(
    "header", [{"alg": "none"}, {"alg": "HS256"}, {"alg": "EdDSA", "crit": ["b64"], "b64": False}]
)
def test_another_algorithm_is_refused(header: dict[str, Any]) -> None:
    _, body, tail = receipt_of(completed()).split(".")
    head = signing.encode(json.dumps({**header, "kid": keys()[0]["kid"]}).encode())
    with pytest.raises(InvalidReceipt):
        verify(f"{head}.{body}.{tail}", keys())


def test_the_key_set_is_public(client: Client) -> None:
    answer = client.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/jwk-set+json"
    [key] = answer.json()["keys"]
    assert key.keys() == {"kty", "crv", "x", "kid", "alg", "use"}
    assert re.fullmatch(r"[\w-]{43}", key["kid"])
    assert client.post("/.well-known/jwks.json").status_code == 405


def test_the_key_set_holds_the_key_of_checkpoints_when_that_is_another(
    client: Client, new_key: dict[str, str]
) -> None:
    receipts = signing.signing_key().kid

    def served() -> list[str]:
        return [key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]]

    assert served() == [receipts]
    with override_settings(AUDIT_SIGNING_KEY=json.dumps(new_key)):
        assert served() == [receipts, new_key["kid"]]
        assert '"d"' not in client.get("/.well-known/jwks.json").content.decode()
        # It is retired like any other.
        old_keys = json.dumps(signing.key_set())
    with override_settings(RECEIPT_KEYS=old_keys):
        assert served() == [receipts, new_key["kid"]]
    with (
        override_settings(AUDIT_SIGNING_KEY="{}"),
        pytest.raises(ImproperlyConfigured, match="AUDIT_SIGNING_KEY is no"),
    ):
        signing.key_set()
