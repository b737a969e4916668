"""A model, field or reference without a fate, or with one that cannot hold, fails the check."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.apps.registry import Apps
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.db.models import CASCADE, DB_CASCADE, DB_SET_NULL, DO_NOTHING, PROTECT, SET_NULL
from django.db.models.functions import Lower

from erasure import policies
from erasure.catalogue import check_catalogue
from erasure.checks import check_policies, concrete_models, find_faults
from erasure.indexes import make_missing_indexes
from erasure.policies import DELETE, Anonymise, Detach, Keep, Loose, Policy, policy
from erasure.subjects import SubjectKind

THEIRS = Detach("Others read it.")
TAX = Keep("The tax office asks for it.", "Art. 17(3)(b) GDPR", timedelta(days=3650))


class Sketch:
    """A person, and one model beside it, with their policies."""

    def __init__(self, **fields: Any) -> None:
        registry = Apps()
        person = self._model("Person", registry, email=models.EmailField())
        self.person = person
        self.note = self._model("Note", registry, **fields)

        class PersonKind(SubjectKind):
            name = "person"

            @property
            def model(self) -> type[models.Model]:
                return person

        self.kind = PersonKind()

    def faults(self, **declaration: Any) -> list[str]:
        """Return the numbers of the faults of the model's policy."""
        mine = {"label": "sketch.Note", "opaque": ["id"], **declaration}
        found = find_faults(
            {
                self.person: write(label="sketch.Person", personal=["email"], opaque=["id"]),
                self.note: write(**mine),
            },
            [self.kind],
        )
        return [(fault.id or "").removeprefix("erasure.") for fault in found]

    def _model(self, name: str, registry: Apps, **fields: Any) -> type[models.Model]:
        meta = type("Meta", (), {"app_label": "sketch", "apps": registry, **fields.pop("meta", {})})
        made = type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **fields})
        found: type[models.Model] = made
        return found


def write(**declaration: Any) -> Policy:
    """Return a policy without keeping it."""
    before = dict(policies._policies)
    try:
        policy(**declaration)
        return policies._policies[declaration["label"].lower()]
    finally:
        policies._policies.clear()
        policies._policies.update(before)


def person(on_delete: Any = DB_CASCADE, **options: Any) -> Any:
    return models.ForeignKey("sketch.Person", on_delete, related_name="+", **options)


def test_a_sound_declaration_has_no_fault() -> None:
    sketch = Sketch(owner=person(), text=models.TextField())
    assert sketch.faults(links={"owner": DELETE}, personal=["text"]) == []


def test_this_project_has_no_fault() -> None:
    assert check_policies(None) == []


def test_a_model_without_a_policy_fails() -> None:
    sketch = Sketch(owner=person())
    own = write(label="sketch.Person", personal=["email"], opaque=["id"])
    (fault,) = find_faults({sketch.person: own, sketch.note: None}, [sketch.kind])
    assert (fault.id, fault.msg) == ("erasure.E001", "sketch.Note has no policy.")
    assert fault.hint == "Declare it in the policies.py of its app."
    assert str(fault.obj) == "sketch.Note"


def test_a_field_without_a_fate_fails() -> None:
    sketch = Sketch(owner=person(), phone=models.CharField(max_length=20))
    assert sketch.faults(links={"owner": DELETE}) == ["E002"]


@pytest.mark.parametrize("lists", [{"personal": ["phone"], "opaque": ["id", "phone"]}])
def test_a_field_in_two_lists_fails(lists: dict[str, Sequence[str]]) -> None:
    sketch = Sketch(owner=person(), phone=models.CharField(max_length=20))
    assert sketch.faults(links={"owner": DELETE}, **lists) == ["E003"]


def test_a_name_that_is_no_field_fails() -> None:
    sketch = Sketch(owner=person())
    assert sketch.faults(links={"owner": DELETE}, personal=["phone"]) == ["E004"]


def test_a_link_that_is_no_foreign_key_fails() -> None:
    sketch = Sketch(owner=person(), number=models.IntegerField())
    assert sketch.faults(links={"owner": DELETE, "number": DELETE}) == ["E004"]


@pytest.mark.parametrize(
    "fate",
    [
        Keep(" ", "Art. 6", timedelta(1)),
        Keep("So.", "", timedelta(1)),
        Detach(""),
        Anonymise({"text": ""}, ""),
    ],
    ids=["reason of a keep", "basis of a keep", "reason of a detach", "reason of an anonymise"],
)
def test_whatever_stays_needs_a_reason(fate: Any) -> None:
    on_delete = DO_NOTHING if isinstance(fate, Keep) else SET_NULL
    owner = person(on_delete, null=True, db_constraint=False)
    sketch = Sketch(owner=owner, text=models.CharField(max_length=9))
    assert sketch.faults(links={"owner": fate}, personal=["text"]) == ["E005"]


@pytest.mark.parametrize("is_said", [True, False])
def test_whose_rows_they_are_is_said_once(is_said: bool) -> None:
    fields = {"owner": person()} if is_said else {"number": models.IntegerField()}
    declaration: dict[str, Any] = (
        {"links": {"owner": DELETE}, "nobody": "No."} if is_said else {"opaque": ["id", "number"]}
    )
    assert Sketch(**fields).faults(**declaration) == ["E006"]


@pytest.mark.parametrize(
    ("fate", "field"),
    [
        (DELETE, lambda: person(DB_SET_NULL, null=True)),
        (DELETE, lambda: person(PROTECT)),
        (DELETE, lambda: person(DO_NOTHING)),
        (THEIRS, lambda: person(DB_CASCADE)),
        (Anonymise({"text": ""}, "So."), lambda: person(CASCADE)),
        (TAX, lambda: person(DB_CASCADE)),
        (TAX, lambda: person(DO_NOTHING)),
    ],
)
def test_an_on_delete_that_contradicts_the_policy_fails(
    fate: Any, field: Callable[[], Any]
) -> None:
    sketch = Sketch(owner=field(), text=models.CharField(max_length=9))
    assert sketch.faults(links={"owner": fate}, personal=["text"]) == ["E007"]


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, models.CharField(max_length=9)),
        ("anonymous", models.CharField(max_length=3)),
        ("anonymous", models.CharField(max_length=9, unique=True)),
        ("anonymous", models.CharField(max_length=9, choices=[("a", "A")])),
    ],
    ids=["not null", "too long", "unique", "no choice"],
)
def test_a_value_that_the_column_cannot_hold_fails(value: Any, field: Any) -> None:
    sketch = Sketch(owner=person(SET_NULL, null=True), text=field)
    fate = Anonymise({"text": value}, "So.")
    assert sketch.faults(links={"owner": fate}, personal=["text"]) == ["E008"]


def test_a_column_that_cannot_be_cleared_fails() -> None:
    sketch = Sketch(owner_id=models.IntegerField(db_index=True))
    assert sketch.faults(loose=[Loose("owner_id", kind="person", fate=THEIRS)]) == ["E008"]


def test_a_foreign_key_to_a_subject_that_is_no_link_fails() -> None:
    sketch = Sketch(owner=person(), friend=person())
    assert sketch.faults(links={"owner": DELETE}, opaque=["id", "friend"]) == ["E009"]


def test_a_subject_that_goes_with_another_needs_a_request_of_its_own() -> None:
    sketch = Sketch(owner=person())

    class NoteKind(SubjectKind):
        name = "note"

        @property
        def model(self) -> type[models.Model]:
            return sketch.note

    known = {
        sketch.person: write(label="sketch.Person", personal=["email"], opaque=["id"]),
        sketch.note: write(label="sketch.Note", links={"owner": DELETE}, opaque=["id"]),
    }
    assert [one.id for one in find_faults(known, [sketch.kind, NoteKind()])] == ["erasure.E010"]


@pytest.mark.parametrize(
    "field", [models.JSONField(), models.TextField(), models.BinaryField(), models.FileField()]
)
def test_a_field_that_could_hold_anything_and_stays_needs_a_reason(field: Any) -> None:
    sketch = Sketch(owner=person(SET_NULL, null=True), facts=field)
    links = {"owner": THEIRS}
    assert sketch.faults(links=links, opaque=["id", "facts"]) == ["E011"]
    assert sketch.faults(links=links, harmless={"facts": "Numbers only."}) == []
    assert sketch.faults(links=links, harmless={"facts": ""}) == ["E005"]


def test_what_is_personal_does_not_stay_for_ever() -> None:
    kept = Keep("The tax office asks for it.", "Art. 17(3)(b) GDPR", None)
    owner = person(DO_NOTHING, db_constraint=False)
    sketch = Sketch(owner=owner, text=models.CharField(max_length=9))
    assert sketch.faults(links={"owner": kept}, personal=["text"]) == ["E012"]
    assert sketch.faults(links={"owner": TAX}, personal=["text"]) == []


def test_what_is_personal_and_is_forgotten_by_anonymise_fails() -> None:
    sketch = Sketch(
        owner=person(SET_NULL, null=True),
        text=models.CharField(max_length=9),
        more=models.CharField(max_length=9),
    )
    fate = Anonymise({"text": ""}, "So.")
    assert sketch.faults(links={"owner": fate}, personal=["text", "more"]) == ["E012"]


@pytest.mark.parametrize(
    "loose",
    [
        Loose("address", kind="alien", fate=DELETE),
        Loose("address", kind="person", to="mail", fate=DELETE),
    ],
)
def test_a_loose_reference_to_what_is_not_known_fails(loose: Loose) -> None:
    sketch = Sketch(address=models.CharField(max_length=50, db_index=True))
    assert "E013" in sketch.faults(loose=[loose])


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"indexes": [models.Index(fields=["id", "owner"], name="second")]},
        {
            "indexes": [
                models.Index(fields=["owner"], name="some", condition=models.Q(id__gt=5)),
            ]
        },
    ],
    ids=["none", "not first", "partial"],
)
def test_a_link_without_an_index_that_begins_with_it_fails(meta: dict[str, Any]) -> None:
    sketch = Sketch(owner=person(db_index=False), meta=meta)
    assert sketch.faults(links={"owner": DELETE}) == ["E014"]


@pytest.mark.parametrize(
    "meta",
    [
        {"indexes": [models.Index(fields=["-owner", "id"], name="first")]},
        {"constraints": [models.UniqueConstraint(fields=["owner", "id"], name="unique")]},
        {"unique_together": [("owner", "id")]},
        {
            "indexes": [
                models.Index(
                    fields=["owner"], name="where", condition=models.Q(owner__isnull=False)
                )
            ]
        },
    ],
    ids=["index", "constraint", "unique together", "where there is a value"],
)
def test_any_index_that_begins_with_the_link_will_do(meta: dict[str, Any]) -> None:
    sketch = Sketch(owner=person(db_index=False), meta=meta)
    assert sketch.faults(links={"owner": DELETE}) == []


def test_a_planted_loose_reference_needs_an_index_in_its_own_case() -> None:
    by_address = [Loose("address", kind="person", to="email", ignore_case=True, fate=DELETE)]
    address = models.CharField(max_length=50, db_index=True)
    assert Sketch(address=address).faults(loose=by_address) == ["E014"]
    meta = {"indexes": [models.Index(Lower("address"), name="low")]}
    address = models.CharField(max_length=50)
    assert Sketch(address=address, meta=meta).faults(loose=by_address) == []


def test_a_loose_reference_that_nobody_declared_fails_as_a_field() -> None:
    sketch = Sketch(owner=person(), quoted_email=models.CharField(max_length=50))
    assert sketch.faults(links={"owner": DELETE}) == ["E002"]


@pytest.mark.django_db
def test_manage_py_check_fails_for_a_model_that_somebody_forgot(
    declarations: dict[str, Policy],
) -> None:
    call_command("check")
    del declarations["apikeys.apikey"]
    with pytest.raises(CommandError, match=r"erasure\.E001.*apikeys\.ApiKey has no policy"):
        call_command("check")


def test_every_installed_model_is_looked_at() -> None:
    looked_at = concrete_models()
    assert apps.get_model("auth", "Group").permissions.through in looked_at
    assert apps.get_model("accounts", "DeletedUser") not in looked_at


@pytest.mark.django_db
def test_the_database_says_the_same() -> None:
    assert check_catalogue(None, databases=["default"]) == []
    assert check_catalogue(None, databases=None) == []


@pytest.mark.django_db
def test_a_table_with_another_delete_rule_is_told() -> None:
    link: Any = apps.get_model("apikeys", "ApiKey")._meta.get_field("created_by")
    rule = link.remote_field.on_delete
    link.remote_field.on_delete = DB_CASCADE
    try:
        (warning,) = check_catalogue(None, databases=["default"])
    finally:
        link.remote_field.on_delete = rule
    assert warning.id == "erasure.W020"
    assert "the table says SET NULL, the model CASCADE" in warning.msg


@pytest.mark.django_db
def test_an_index_on_a_table_of_another_package_is_made_by_migrate() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX erasure_admin_log_by_object")
    (warning,) = check_catalogue(None, databases=["default"])
    assert warning.id == "erasure.W021"
    make_missing_indexes("default")
    assert check_catalogue(None, databases=["default"]) == []


@pytest.mark.parametrize("since", ["text", "nowhere"])
def test_a_retention_that_counts_from_no_time_fails(since: str) -> None:
    sketch = Sketch()
    fate = Keep("It says so.", "Art. 5(2) GDPR", timedelta(days=9), since=since)
    assert "E016" in sketch.faults(links={"owner": fate}, personal=["text"])
