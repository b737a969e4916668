"""``manage.py export_user``: whom it finds, what it writes, and what it never overwrites."""

import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.events import Reference
from audit.models import AuditEvent
from erasure import export
from erasure.references import spell
from tests.bystanders import charlie_untouched
from tests.factories import OrganizationFactory, UserFactory


def run(*args: str) -> str:
    out = io.StringIO()
    call_command("export_user", *args, stdout=out)
    return out.getvalue()


def refuse(*args: str) -> CommandError:
    with pytest.raises(CommandError) as refused:
        run(*args)
    return refused.value


@pytest.mark.django_db
def test_it_writes_a_zip_that_only_its_owner_may_read(tmp_path: Path) -> None:
    with charlie_untouched():
        UserFactory(username="ann")
        path = tmp_path / "ann.zip"
        text = run("ann", "--output", str(path))
        assert text.startswith(f"Wrote {path}: ")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with zipfile.ZipFile(path) as archive:
            assert {"README.txt", "manifest.json"} <= set(archive.namelist())
    assert AuditEvent.objects.get(action="user.exported").channel == "export_user"


@pytest.mark.django_db
def test_a_file_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    UserFactory(username="ann")
    path = tmp_path / "ann.zip"
    path.write_text("older")
    error = refuse("ann", "--output", str(path))
    assert error.returncode == 2
    assert path.read_text() == "older"
    assert not AuditEvent.objects.filter(action="user.exported").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["username", "address", "other case", "id"])
def test_a_person_is_named_by_username_address_or_id(how: str, tmp_path: Path) -> None:

    ann = UserFactory(username="ann", email="ann@example.org")
    UserFactory(username="anna", email="joann@example.org")
    names = {
        "username": "ann",
        "address": "ann@example.org",
        "other case": "Ann@Example.ORG",
        "id": spell(Reference("user", ann.pk)),
    }
    facts = json.loads(run(names[how], "--output", str(tmp_path / "x.zip"), "--json"))
    assert facts["subject"] == names["id"]
    assert facts["file"] == str(tmp_path / "x.zip")
    assert facts["rows"] == 1


@pytest.mark.django_db
def test_without_output_it_lands_here_under_the_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    UserFactory(username="ann")
    facts = json.loads(run("ann", "--json"))
    assert facts["file"] == f"export-{facts['subject']}.zip"
    assert (tmp_path / facts["file"]).exists()


@pytest.mark.django_db
def test_part_of_a_name_is_not_enough(tmp_path: Path) -> None:
    UserFactory(username="annabel")
    error = refuse("anna", "--output", str(tmp_path / "x.zip"))
    assert (error.returncode, str(error)) == (1, "There is no such user.")
    assert not list(tmp_path.iterdir())


@pytest.mark.django_db
def test_a_name_that_two_have_is_refused_with_their_ids(tmp_path: Path) -> None:
    UserFactory(username="ann")
    UserFactory(username="ann", is_deleted=True)
    error = refuse("ann", "--output", str(tmp_path / "x.zip"))
    assert error.returncode == 2
    assert str(error).count("usr_") == 2


@pytest.mark.django_db
def test_an_id_of_nobody_leaves_no_file(tmp_path: Path) -> None:

    gone = spell(Reference("user", UserFactory.build().pk))
    error = refuse(gone, "--output", str(tmp_path / "x.zip"))
    assert str(error) == "There is no such user."
    assert not list(tmp_path.iterdir())


@pytest.mark.django_db
def test_half_an_export_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    UserFactory(username="ann")

    def fail(*args: Any) -> str:
        raise RuntimeError

    monkeypatch.setattr(export, "write_readme", fail)
    with pytest.raises(RuntimeError):
        run("ann", "--output", str(tmp_path / "x.zip"))
    assert not list(tmp_path.iterdir())


@pytest.mark.django_db
def test_a_folder_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    UserFactory(username="ann")
    assert refuse("ann", "--output", str(tmp_path / "no" / "x.zip")).returncode == 2


@pytest.mark.django_db
def test_organizations_are_exported_by_kind(tmp_path: Path) -> None:
    organization = OrganizationFactory(name="Acme")
    args = ["--kind", "organization", "--output", str(tmp_path / "x.zip"), "--json"]
    assert json.loads(run("Acme", *args))["subject"] == str(organization.pk)


@pytest.mark.django_db
def test_a_terminal_sees_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    UserFactory(username="ann")
    run("ann", "--output", str(tmp_path / "x.zip"))
    assert capsys.readouterr().err
