"""Rules about the admin's pages that a reader could forget."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import RequestFactory

from accounts.models import User
from erasure.desk.pages import StaffAdmin

WRITES = ("log_addition", "log_change", "log_deletions")


def unrecorded(site: admin.AdminSite) -> Iterator[str]:
    """Yield the models on whose pages somebody can write without an event of the audit log."""
    for model, page in site._registry.items():
        is_recorded = all(getattr(type(page), it) is getattr(StaffAdmin, it) for it in WRITES)
        if not is_recorded and can_write(page):
            yield model._meta.label


def can_write(page: Any) -> bool:
    """Whether a superuser may do anything but look."""
    request = RequestFactory().get("/")
    request.user = User(is_active=True, is_staff=True, is_superuser=True)
    return any(
        (
            page.has_add_permission(request),
            page.has_change_permission(request),
            page.has_delete_permission(request),
            page.get_actions(request),
        )
    )


def test_whatever_staff_write_is_in_the_audit_log() -> None:
    assert list(unrecorded(admin.site)) == [], (
        "Base their pages on erasure.desk.pages.StaffAdmin, first of all bases, which records each "
        "entry of the history; or on ReadOnlyAdmin beside it."
    )


def test_a_page_that_records_nothing_is_found() -> None:
    class Last(admin.ModelAdmin[Any]):
        pass

    class Overridden(StaffAdmin):
        def log_deletions(self, request: Any, queryset: Any) -> Any:
            return ()

    rights = ("has_add_permission", "has_change_permission", "has_delete_permission")
    looking: Any = type("Looking", (Last,), dict.fromkeys(rights, lambda *args: False))
    for page, found in (
        (Last, ["admin.LogEntry"]),
        (Overridden, ["admin.LogEntry"]),
        (looking, []),
        (StaffAdmin, []),
    ):
        site = admin.AdminSite()
        site.register(LogEntry, page)
        site.register(Group, StaffAdmin)
        assert list(unrecorded(site)) == found
