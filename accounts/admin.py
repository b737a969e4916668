"""Users, their groups, and the accounts whose deletion has been asked for."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.forms import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html

from accounts.forms import NewUserForm, UserForm
from accounts.models import DeletedUser, User, UserGroup
from accounts.services import set_active
from accounts.steps import ERASE, RESTORE, label_user
from audit.events import Reference, record
from audit.models import AuditEvent
from audit.querying import read_genuine
from erasure.desk.forms import ReasonedActionForm
from erasure.desk.pages import Order, ReadOnlyAdmin, StaffAdmin
from erasure.desk.shown import show_id, show_time, tell_facts, tell_next, tell_requester
from erasure.desk.staff import actor_of, by_flag, by_time, date_column
from erasure.desk.steps import ConfirmedSteps
from erasure.desk.views import attach_deletions, changelist_with_deletions, next_filter

if TYPE_CHECKING:
    AnyUserAdmin = DjangoUserAdmin[User]
    AnyInline = admin.TabularInline[Any, Any]
    AnyFormSet = BaseInlineFormSet[Any, Any, Any]
else:
    AnyFormSet = BaseInlineFormSet
    AnyUserAdmin = DjangoUserAdmin
    AnyInline = admin.TabularInline


@admin.display(description="Account")
def account_id(user: User) -> str:
    return format_html('<span class="typed-id">{}</span>', show_id("user", user.pk))


class GroupFormSet(AnyFormSet):
    @classmethod
    def get_default_prefix(cls) -> str:
        # The relation has no name backwards, and a prefix of "-1" is no id that scripts can find.
        return "groups"


class GroupInline(AnyInline):
    model = UserGroup
    formset = GroupFormSet
    extra = 0
    verbose_name = "group"
    verbose_name_plural = "groups"


@admin.register(User)
class UserAdmin(StaffAdmin, AnyUserAdmin):
    form = UserForm
    add_form = NewUserForm
    inlines = (GroupInline,)
    actions = ("activate", "deactivate")
    action_form = ReasonedActionForm
    list_display = (
        "username",
        "email",
        "name",
        "shown_active",
        "shown_staff",
        "shown_deleted",
        date_column("date_joined", "Joined"),
    )
    list_filter = (
        by_flag("is_active", "active"),
        by_flag("is_staff", "staff"),
        by_flag("is_deleted", "deleted"),
        by_flag("is_superuser", "superuser"),
        by_time("date_joined", "time of joining"),
    )
    search_fields = ("username", "email", "name")
    search_help_text = "Username, e-mail address, name or account id (usr_…)"
    ordering = ("-date_joined", "-id")
    filter_horizontal = ()
    list_per_page = 50
    fieldsets: ClassVar[Any] = (
        (None, {"fields": (account_id, "username", "email", "name", "password")}),
        ("State", {"fields": ("is_active", "is_deleted", date_column("deleted_at", "Deleted"))}),
        ("Rights", {"fields": ("is_staff", "is_superuser")}),
        (
            "Dates",
            {
                "fields": (
                    date_column("date_joined", "Joined"),
                    date_column("last_login", "Last sign-in"),
                )
            },
        ),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "email", "name")}),
        ("Password", {"fields": ("usable_password", "password1", "password2")}),
    )

    def head(self, row: User) -> str:
        return label_user(row)

    def label_choice(self, user: User) -> str:
        return label_user(user)

    @admin.display(description="Active", boolean=True, ordering="is_active")
    def shown_active(self, user: User) -> bool:
        return user.is_active

    @admin.display(description="Staff", boolean=True, ordering="is_staff")
    def shown_staff(self, user: User) -> bool:
        return user.is_staff

    @admin.display(description="Deleted", ordering="is_deleted")
    def shown_deleted(self, user: User) -> str:
        return show_time(user.deleted_at) if user.is_deleted else "-"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = [account_id, "is_active", "is_deleted"]
        shown += [name for _, part in self.fieldsets for name in part["fields"] if callable(name)]
        # Whoever may only edit users must not be able to make themselves more than that.
        return shown if request.user.is_superuser else [*shown, "is_staff", "is_superuser"]

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # With the password of a superuser one would be one.
        is_above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return super().has_change_permission(request, obj) and not is_above

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Deletion runs through the services alone, which know about holds, owners and the record.
        return False

    def get_queryset(self, request: HttpRequest) -> Any:
        users: Any = super().get_queryset(request)
        return users.live() if _is_autocomplete(request) else users

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        now = timezone.now()
        if not change:
            obj.date_joined = now
        super().save_model(request, obj, form, change)
        subject, actor = Reference("user", obj.pk), actor_of(request)
        if not change:
            record("user.created", actor=actor, subject=subject, now=now)
        elif changed := list(form.changed_data):
            before = {
                f"{name}_before": str(form.initial.get(name) or "")
                for name in ("username", "email", "name")
                if name in changed
            }
            record(
                "user.changed",
                actor=actor,
                subject=subject,
                now=now,
                facts={"fields": changed},
                details=before,
            )

    @admin.action(description="Activate", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: Any) -> None:
        self._set_active(request, queryset, is_active=True)

    @admin.action(description="Deactivate and sign out", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: Any) -> None:
        self._set_active(request, queryset, is_active=False)

    def _set_active(self, request: HttpRequest, queryset: Any, *, is_active: bool) -> None:
        def act(order: Order) -> str:
            set_active(actor=order.actor, user_id=order.id, is_active=is_active, now=order.now)
            return "is active again." if is_active else "is locked out and signed out everywhere."

        users = list(queryset)
        mine = [user for user in users if self.has_change_permission(request, user)]
        here = [(user.pk, self.describe(user)) for user in mine]
        self.report_each(request, here, act, {"reason": request.POST.get("reason", "").strip()})
        for user in users:
            if user not in mine:
                text = (
                    f"User {self.describe(user)}: nothing was done: only a superuser may do this."
                )
                self.message_user(request, text, "ERROR")


# Django's own page would give rights away without an event.
admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(StaffAdmin, DjangoGroupAdmin):
    id_columns = ()


@admin.register(DeletedUser)
class DeletedUserAdmin(ConfirmedSteps, ReadOnlyAdmin):
    steps = (RESTORE, ERASE)
    actions = ("restore", "erase")
    change_form_template = "admin/accounts/deleteduser/change_form.html"
    list_display = (
        account_id,
        "username",
        "show_next",
        date_column("deleted_at", "Deleted"),
        "by",
        "through",
    )
    list_filter = (next_filter("user"), by_time("deleted_at", "time of deletion"))
    search_fields = ("username", "email", "name")
    search_help_text = "Username, e-mail address, name or account id (usr_…)"
    ordering = ("-deleted_at", "-id")
    list_per_page = 50
    fieldsets: ClassVar[Any] = (
        (None, {"fields": (account_id, "username", "email", "name")}),
        (
            "Deletion",
            {
                "fields": (
                    date_column("deleted_at", "Deleted"),
                    "by",
                    "through",
                    "show_next",
                    "attempts",
                )
            },
        ),
    )

    def head(self, row: User) -> str:
        return label_user(row)

    def subject_of(self, row: User) -> Reference:
        return Reference("user", row.pk)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return changelist_with_deletions("user")

    def get_queryset(self, request: HttpRequest) -> Any:
        users: Any = super().get_queryset(request)
        return users.deleted()

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        user = super().get_object(request, object_id, from_field)
        if user is not None:
            attach_deletions("user", [user])
        return user

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        events: Any = ()
        if (user := self.get_object(request, object_id)) is not None:
            about = AuditEvent.objects.filter(subject_kind="user", subject_id=user.pk)
            events = [
                (event, show_id(event.actor_kind, event.actor_id), tell_facts(event.facts))
                for event in read_genuine(about.order_by("at", "id"), most=200)
            ]
        context = {"story": events, "title": "Deleted account", **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    @admin.display(description="By")
    def by(self, user: Any) -> str:
        return tell_requester(user.deletion)

    @admin.display(description="Through")
    def through(self, user: Any) -> str:
        return user.deletion.channel if user.deletion else "-"

    @admin.display(description="What happens next")
    def show_next(self, user: Any) -> str:
        is_held = bool(user.deletion and user.deletion.held)
        return tell_next(user.deletion, held=is_held, now=timezone.now())

    @admin.display(description="Attempts to erase")
    def attempts(self, user: Any) -> str:
        return str(user.deletion.attempts) if user.deletion else "-"

    def has_restore_permission(self, request: HttpRequest) -> bool:
        return self.may(request, RESTORE)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return self.may(request, ERASE)

    @admin.action(description="Restore…", permissions=["restore"])
    def restore(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, RESTORE.slug, queryset)

    @admin.action(description="Erase now…", permissions=["erase"])
    def erase(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, ERASE.slug, queryset)


def _is_autocomplete(request: HttpRequest) -> bool:
    return bool(request.resolver_match and request.resolver_match.url_name == "autocomplete")
