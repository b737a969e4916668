"""Rules about contract files that a reader could forget."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from openapi_spec_validator import validate

from accounts import exceptions as _accounts  # noqa: F401 - so that every subclass is known
from accounts.contracts import account, user, users, v1_user
from contracts.base import Contract
from erasure.exceptions import DeletionError
from organizations.contracts import organizations

ROOT = Path(__file__).resolve().parent.parent.parent
FILES: list[Any] = [account, v1_user, users, organizations, user]
every_contract = pytest.mark.parametrize("module", FILES, ids=lambda module: module.__name__)


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


@every_contract
def test_each_refusal_of_the_domain_has_its_line_in_the_table(module: Any) -> None:
    missing = sorted(c.__name__ for c in subclasses(DeletionError) if c not in module.ERRORS)
    assert not missing, f"Add to ERRORS in {module.__name__}: {', '.join(missing)}"


@every_contract
def test_a_view_method_holds_at_most_eight_lines_and_one_service_call(module: Any) -> None:
    tree = ast.parse(inspect.getsource(module))
    services = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".services")
        for alias in node.names
    }
    methods = [
        method
        for kind in tree.body
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if isinstance(method, ast.FunctionDef) and method.decorator_list
    ]
    assert methods
    for method in methods:
        first, last = method.body[0].lineno, method.body[-1].end_lineno or 0
        assert last - first + 1 <= 8, f"{method.name} in {module.__name__} is too long"
        called = [
            node.func.id
            for node in ast.walk(method)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        used = [name for name in called if name in services]
        assert len(used) == 1, f"{method.name} in {module.__name__} must call one service"


@every_contract
def test_a_contract_imports_neither_models_nor_another_contract(module: Any) -> None:
    tree = ast.parse(inspect.getsource(module))
    imported = [
        node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    ] + [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    for name in imported:
        assert ".models" not in name, f"{module.__name__} imports {name}: call a service"
        assert ".contracts" not in name, (
            f"{module.__name__} imports {name}: contracts are strangers"
        )
        assert not name.startswith("django.db"), f"{module.__name__} imports {name}"


def test_contracts_do_not_repeat_each_others_logic() -> None:
    """Two functions of different contracts with the same syntax tree belong into one place."""
    seen: dict[str, str] = {}
    for module in FILES:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(node, ast.FunctionDef) or len(ast.unparse(node)) < 160:
                continue
            shape = ast.dump(ast.Module(body=node.body, type_ignores=[]))
            where = f"{module.__name__}.{node.name}"
            assert shape not in seen, f"{where} repeats {seen[shape]}: move it to contracts/"
            seen[shape] = where


def test_below_the_edge_nobody_speaks_of_http() -> None:
    """No status, envelope, dialect or version in the domain."""
    words = ("rest_framework", "django.http", "contracts", "status_code")
    rooms = ("accounts", "organizations", "apikeys", "erasure", "audit")
    edges = ("contracts", "api", "desk", "management", "migrations")
    for room in rooms:
        for file in sorted((ROOT / room).rglob("*.py")):
            inner = file.relative_to(ROOT / room)
            if set(edges) & set(inner.parts) or inner.name in EDGE_FILES:
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module:
                    assert not node.module.startswith(words), (
                        f"{file.relative_to(ROOT)} imports {node.module}; that belongs to an edge"
                    )


EDGE_FILES = {
    "admin.py",
    "chores.py",
    "forms.py",
    "keyset.py",
    "middleware.py",
    "pages.py",
    "signin.py",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    generator: Any = SchemaGenerator
    made: dict[str, Any] = generator().get_schema(request=None, public=True)
    return made


def test_the_openapi_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    validate(document)


def operations(document: dict[str, Any]) -> dict[str, Any]:
    return {
        operation["operationId"]: operation
        for methods in document["paths"].values()
        for operation in methods.values()
    }


def test_operation_ids_are_the_documented_ones(document: dict[str, Any]) -> None:
    expected = {
        "deleteAccount": "/account",
        "deleteUser": "/v1/user/{user_id}",
        "delete-a-user": "/users/{userId}",
        "deleteOrganization": "/organizations/{id}",
        "deleteUserByUserId": "/user/{userId}",
    }
    for operation_id, path in expected.items():
        assert document["paths"][path]["delete"]["operationId"] == operation_id


@pytest.mark.parametrize(
    ("operation_id", "module"),
    [
        ("deleteAccount", account),
        ("deleteUser", v1_user),
        ("delete-a-user", users),
        ("delete-user-logs", users),
        ("deleteOrganization", organizations),
        ("deleteUserByUserId", user),
    ],
)
def test_every_status_of_the_table_is_documented_with_an_example(
    operation_id: str, module: Any, document: dict[str, Any]
) -> None:
    responses = operations(document)[operation_id]["responses"]
    left_out = {400, 413, 415} if module is v1_user else set()
    for refusal in module.ERRORS.values():
        if refusal.status in left_out:
            continue
        described = responses[str(refusal.status)]
        assert refusal.text in described["description"]
        assert described["content"]["application/json"]["examples"]
        assert "X-Request-ID" in described["headers"]


def test_every_view_of_the_api_stands_in_the_frame() -> None:
    from django.urls import get_resolver

    def views(patterns: Any) -> Iterator[Any]:
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                if pattern.namespace != "admin":
                    yield from views(pattern.url_patterns)
            else:
                yield pattern.callback

    ours = {"healthz", "readyz", "show_metrics", "key_set"}
    packages = ("drf_spectacular", "config", "django", "oauth2_provider")
    for view in views(get_resolver().url_patterns):
        kind = getattr(view, "cls", None) or getattr(view, "view_class", None)
        if kind is None:
            is_page = "admin" in view.__module__ or view.__module__.endswith(".pages")
            assert view.__name__ in ours or is_page, view
        elif kind.__module__.endswith((".pages", ".signin")):
            continue
        elif kind.__module__.split(".")[0] not in packages:
            assert issubclass(kind, Contract), f"{kind} must subclass contracts.base.Contract"
