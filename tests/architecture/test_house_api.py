"""Rules about the house API for deletions: whatever is refused has its words and its example."""

import ast
import inspect
import textwrap
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

from accounts import exceptions as _accounts  # noqa: F401 - so that every subclass is known
from accounts.api import deletion as of_users
from contracts.base import Contract
from erasure.api import deletions
from erasure.exceptions import DeletionError, RestoreError, UnderLegalHold
from organizations.api import deletion as of_organizations
from organizations.api import invitations, managed_users, members, organizations
from organizations.exceptions import OrganizationError, SettlementRefused
from tests.architecture.test_contracts import operations, subclasses

LIFE: list[Any] = [organizations, members, invitations, managed_users]
FILES: list[Any] = [of_users, of_organizations, deletions, *LIFE]
OPERATIONS: dict[str, tuple[str, str, Any]] = {
    "previewUserDeletion": ("get", "/v1/user/{user_id}/deletion-preview", of_users),
    "scheduleUserDeletion": ("post", "/v1/user/{user_id}/deletion", of_users),
    "previewOrganizationDeletion": (
        "get",
        "/v1/organizations/{id}/deletion-preview",
        of_organizations,
    ),
    "scheduleOrganizationDeletion": ("post", "/v1/organizations/{id}/deletion", of_organizations),
    "cancelOrganizationDeletion": (
        "post",
        "/v1/organizations/{id}/deletion/cancel",
        of_organizations,
    ),
    "getDeletion": ("get", "/v1/deletions/{deletion_id}", deletions),
    "getDeletionReceipt": ("get", "/v1/deletions/{deletion_id}/receipt", deletions),
    "restoreDeletion": ("post", "/v1/deletions/{deletion_id}/restore", deletions),
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    generator: Any = SchemaGenerator
    made: dict[str, Any] = generator().get_schema(request=None, public=True)
    return made


@pytest.mark.parametrize("module", [of_users, of_organizations])
def test_each_refusal_of_a_deletion_has_its_line(module: Any) -> None:
    missing = sorted(c.__name__ for c in subclasses(DeletionError) if c not in module.ERRORS)
    assert not missing, f"Add to ERRORS in {module.__name__}: {', '.join(missing)}"


def test_each_refusal_of_a_restore_is_a_conflict() -> None:
    assert deletions.ERRORS[RestoreError].status == 409
    for kind in subclasses(RestoreError):
        near = next(line for one in kind.__mro__ if (line := deletions.ERRORS.get(one)))
        assert near.status == 409, f"{kind.__name__} would be answered with {near.status}"


@pytest.mark.parametrize("module", FILES, ids=lambda module: module.__name__)
def test_a_view_method_holds_at_most_eight_lines(module: Any) -> None:
    views = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Contract) and kind.__module__ == module.__name__
    ]
    assert views
    for view in views:
        tree = ast.parse(textwrap.dedent(inspect.getsource(view)))
        for method in ast.walk(tree):
            if isinstance(method, ast.FunctionDef):
                first, last = method.body[0].lineno, method.body[-1].end_lineno or 0
                assert last - first + 1 <= 8, f"{view.__name__}.{method.name} is too long"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_documents_what_it_can_answer(name: str, document: dict[str, Any]) -> None:
    method, path, module = OPERATIONS[name]
    described = document["paths"][path][method]
    assert described["operationId"] == name
    assert described["tags"] == ["Deletions"]
    responses = described["responses"]
    assert {"401", "403", "404", "405", "429", "500"} <= responses.keys()
    texts = {line.text for line in module.ERRORS.values()}
    for status, response in responses.items():
        assert "X-Request-ID" in response["headers"]
        if int(status) >= 400:
            assert set(response["description"].split("; ")) <= texts
            assert response["content"]["application/json"]["examples"]
    documented = "; ".join(it["description"] for it in responses.values())
    if name.startswith("schedule"):
        shown = [line.text for kind, line in module.ERRORS.items() if line.status in (409, 422)]
        missing = [text for text in shown if text not in documented]
        # A legal hold does not stop a soft delete, and only a cancellation can come too late.
        spared = {UnderLegalHold, SettlementRefused, *getattr(module, "COMING_BACK", ())}
        assert set(missing) <= {module.ERRORS[kind].text for kind in spared}


def test_operation_ids_occur_once(document: dict[str, Any]) -> None:
    every = [it for methods in document["paths"].values() for it in methods.values()]
    assert len(operations(document)) == len(every)


def test_a_body_that_may_be_left_out_is_documented_so(document: dict[str, Any]) -> None:
    for name in ("scheduleUserDeletion", "restoreDeletion"):
        body = operations(document)[name]["requestBody"]
        assert body["required"] is False
        assert body["content"]["application/json"]["schema"]["additionalProperties"] is False
    for name in ("createApiKey", "scheduleOrganizationDeletion"):
        assert operations(document)[name]["requestBody"]["required"] is True


def test_a_receipt_is_documented_as_what_it_is(document: dict[str, Any]) -> None:
    content = operations(document)["getDeletionReceipt"]["responses"]["200"]["content"]
    assert list(content) == ["application/jose"]


def test_every_refusal_within_an_organization_has_its_words() -> None:
    """In one of the files at least: each lists what its own services raise."""
    told = {kind for module in [*LIFE, of_organizations] for kind in module.ERRORS}
    missing = sorted(c.__name__ for c in subclasses(OrganizationError) if c not in told)
    assert not missing, f"Add to ERRORS beneath organizations/api: {', '.join(missing)}"


PATHS = ("/v1/organizations", "/v1/invitations")


def test_the_life_of_an_organization_is_documented(document: dict[str, Any]) -> None:
    texts = {line.text for module in LIFE for line in module.ERRORS.values()}
    found = 0
    for path, methods in document["paths"].items():
        for described in methods.values():
            if not path.startswith(PATHS) or described["tags"] != ["Organizations"]:
                continue
            found += 1
            responses = described["responses"]
            assert {"405", "429", "500"} <= responses.keys(), path
            assert ({} in described["security"]) == (path == "/v1/invitations/sign-up")
            assert ("401" in responses) == (path != "/v1/invitations/sign-up")
            for status, response in responses.items():
                if int(status) >= 400:
                    assert set(response["description"].split("; ")) <= texts, (path, status)
                    assert response["content"]["application/json"]["examples"]
            body = described.get("requestBody")
            if body:
                schema = body["content"]["application/json"]["schema"]
                assert schema["additionalProperties"] is False
    assert found == 21
