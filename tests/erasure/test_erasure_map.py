"""``manage.py erasure_map``: the map, and its page in the documentation."""

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from erasure.charts import as_mermaid, as_table
from erasure.checks import concrete_models
from erasure.mapping import Rule, describe, tell_retention
from tests.erasure.planted import POLICIES, Comment, Invoice, Rating, build_closure

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "erasure-map.md"


def show(*options: str) -> str:
    out = StringIO()
    call_command("erasure_map", *options, stdout=out)
    return out.getvalue()


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == show("--format", "markdown"), (
        "Run: manage.py erasure_map --format markdown > docs/erasure-map.md"
    )


def test_every_model_is_on_it() -> None:
    labels = {model._meta.label for model in concrete_models()}
    assert {entry["label"] for entry in json.loads(show("--format", "json"))} == labels
    table, page = show(), PAGE.read_text()
    for label in labels:
        assert label in table
        assert f"`{label}`" in page


def test_json_tells_whose_data_which_and_what_becomes_of_it() -> None:
    entries = {entry["label"]: entry for entry in json.loads(show("--format", "json"))}
    keys = entries["apikeys.ApiKey"]
    assert keys["personal"] == ["hint", "name"]
    assert keys["secret"] == ["digest"]
    assert {"user", "organization"} == {
        one for rule in keys["rules"] if rule["outcome"] == "deleted" for one in rule["subjects"]
    }
    (detached,) = [rule for rule in keys["rules"] if rule["outcome"] == "detached"]
    assert detached["because"] == "The key is the organization's and outlives whoever made it."
    events = entries["audit.AuditEvent"]["rules"][0]
    assert (events["outcome"], events["basis"]) == ("kept", "Art. 5(2) and Art. 17(3)(b) GDPR")


def test_the_diagram_is_a_mermaid_flowchart() -> None:
    lines = show("--format", "mermaid").splitlines()
    assert lines[0] == "flowchart LR"
    assert '    kind_user(["user"])' in lines
    assert "    kind_user -->|deleted| apikeys_ApiKey" in lines
    assert "    kind_user -.->|detached| apikeys_ApiKey" in lines
    assert len(set(lines)) == len(lines)


def test_another_format_is_refused() -> None:
    with pytest.raises(CommandError, match="invalid choice"):
        show("--format", "xml")


def test_grandchildren_are_drawn_from_their_parents() -> None:
    closures = {"author": build_closure()}
    entry = describe(Comment, POLICIES[Comment], closures)
    deleted = entry.rules[0]
    assert deleted == Rule(
        subjects=("author",),
        through=("post (planted.Post)", "parent (planted.Comment)"),
        parents=("planted.Comment", "planted.Post"),
        outcome="deleted",
    )
    assert "    planted_Post -->|deleted| planted_Comment" in as_mermaid([entry])
    assert "kind_author -->" not in as_mermaid([entry])
    assert entry.rules[1].through == ("author", "approved_by")


def test_what_stays_is_told_with_its_ground() -> None:
    closures = {"author": build_closure()}
    table = as_table([describe(model, POLICIES[model], closures) for model in (Invoice, Rating)])
    assert "kept" in table
    assert "The tax office asks for it. Art. 17(3)(b) GDPR; for good" in table
    assert "The stars count on. Overwritten: words." in table


@pytest.mark.parametrize(
    ("days", "text"),
    [(365, "for 1 year"), (1095, "for 3 years"), (30, "for 30 days"), (400, "for 400 days")],
)
def test_a_retention_reads_well(days: int, text: str) -> None:
    assert tell_retention(timedelta(days=days)) == text
