"""Organizations with their people. Every change here keeps a live owner in each of them."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html

from accounts.models import User
from accounts.steps import label_user
from audit.actors import Actor
from audit.events import Reference, record
from erasure.desk.shown import show_id
from erasure.desk.staff import actor_of, by_flag, by_time, date_column
from erasure.desk.steps import ConfirmedSteps, Step
from erasure.desk.views import attach_deletions, show_deletion_of
from erasure.subjects import lock_subject, lock_subjects
from organizations.exceptions import SlugRefused
from organizations.models import Invitation, ManagedUser, Membership, Organization, Role
from organizations.slugs import forbid_bad_slug
from organizations.steps import RESTORE, TEARDOWN

if TYPE_CHECKING:
    AnyInline = admin.TabularInline[Any, Any]
    AnyForm = forms.ModelForm[Any]
    AnyFormSet = forms.BaseInlineFormSet[Any, Any, Any]
    UserChoice = forms.ModelChoiceField[User]
else:
    AnyInline = admin.TabularInline
    AnyForm = forms.ModelForm
    AnyFormSet = forms.BaseInlineFormSet
    UserChoice = forms.ModelChoiceField


class UserField(UserChoice):
    def label_from_instance(self, obj: User) -> str:
        return label_user(obj)


class PersonWidget(forms.Widget):
    """Shows who a member is. A membership never passes to somebody else."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> Any:
        gone = ", deleted" if self.user.is_deleted else ""
        locked = ", inactive" if not (self.user.is_active or self.user.is_deleted) else ""
        return format_html("<p>{}{}</p>", label_user(self.user), gone or locked)


class MembershipForm(AnyForm):
    user = UserField(queryset=User.live.all())

    class Meta:
        model = Membership
        fields = ("user", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["user"]
        if self.instance._state.adding:
            relation: Any = Membership._meta.get_field("user")
            field.widget = AutocompleteSelect(relation, admin.site)
            field.widget.choices = field.choices  # type: ignore[attr-defined]
        else:
            field.queryset = User.objects.filter(pk=self.instance.user_id)  # type: ignore[attr-defined]
            field.disabled = True
            field.widget = PersonWidget(self.instance.user)


class MembershipFormSet(AnyFormSet):
    def clean(self) -> None:
        """Refuse what would leave the organization without a live owner.

        Decided on rows read under the organization's lock, which every way of losing an owner
        takes as well: of two owners who leave at once, the second one sees the first one gone.
        """
        super().clean()
        is_new = self.instance._state.adding
        if any(self.errors) or not (is_new or any(form.has_changed() for form in self.forms)):
            return
        roles = self._read_roles()
        for form in self.forms:
            row = form.instance
            if form in self.deleted_forms:
                roles.pop(row.user_id, None)
            elif row.user_id and (form.has_changed() or row._state.adding):
                roles[row.user_id] = form.cleaned_data["role"]
        owners = [user_id for user_id, role in roles.items() if role == Role.OWNER]
        if not User.live.filter(pk__in=owners).exists():
            raise ValidationError(
                "An organization needs at least one owner whose account is active. "
                "Nothing was saved."
            )

    def _read_roles(self) -> dict[UUID, str]:
        """Lock the people whose roles change, then the organization, and return the roles by user.

        Not only those who are added: a member who is made an owner must not be leaving meanwhile.
        """
        changed = [form for form in self.forms if form.has_changed()]
        lock_subjects("user", [form.cleaned_data["user"].pk for form in changed])
        if self.instance._state.adding:
            return {}
        lock_subject(Reference("organization", self.instance.pk))
        rows = Membership.objects.filter(organization_id=self.instance.pk)
        return dict(rows.values_list("user_id", "role"))


def record_staffing(formset: Any, actor: Actor) -> None:
    """Write the events of the members that staff added, changed and removed."""
    changed = [row for row, fields in formset.changed_objects if "role" in fields]
    told: list[tuple[str, Any, dict[str, str]]] = [
        *(("member.added", row, {"role": row.role}) for row in formset.new_objects),
        *(("member.role_changed", row, {"role": row.role}) for row in changed),
        *(("member.removed", row, {"how": "removed"}) for row in formset.deleted_objects),
    ]
    for action, row, facts in told:
        record(
            action,
            actor=actor,
            subject=Reference("organization", row.organization_id),
            organization_id=row.organization_id,
            now=timezone.now(),
            facts={"member": str(row.user_id), **facts},
        )


class MembershipInline(AnyInline):
    model = Membership
    form = MembershipForm
    formset = MembershipFormSet
    extra = 0
    readonly_fields = ("person", date_column("joined_at", "Joined"))
    verbose_name = "member"
    verbose_name_plural = "members"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("user")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        may_edit = self.has_add_permission(request, obj) or self.has_change_permission(request, obj)
        return ("user" if may_edit else "person", "role", self.readonly_fields[1])

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 0 if obj else 1

    @admin.display(description="User")
    def person(self, membership: Membership) -> str:
        return label_user(membership.user)


class _Shown(AnyInline):
    """Rows that staff may read here and that come and go elsewhere."""

    extra = 0
    can_delete = False
    template = "erasure/desk/shown_rows.html"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class InvitationInline(_Shown):
    model = Invitation
    fields = (
        "email",
        "role",
        "inviter",
        date_column("created_at", "Sent"),
        date_column("expires_at", "Expires"),
    )
    readonly_fields = fields
    verbose_name_plural = "invitations"

    @admin.display(description="Invited by")
    def inviter(self, invitation: Invitation) -> str:
        by = invitation.invited_by_id
        return show_id("user", by) if by else "-"


class ManagedUserInline(_Shown):
    model = ManagedUser
    fields = ("person", "external_id", date_column("created_at", "Since"))
    readonly_fields = fields
    verbose_name_plural = "managed users: they go when the organization goes"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("user")

    @admin.display(description="User")
    def person(self, managed: ManagedUser) -> str:
        return label_user(managed.user)


class OrganizationForm(AnyForm):
    class Meta:
        model = Organization
        fields = ("name", "slug")

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        if "slug" in self.changed_data:
            try:
                forbid_bad_slug(slug)
            except SlugRefused:
                raise ValidationError(
                    "Small letters, digits and single hyphens, 2 to 60, and no id."
                ) from None
        others = Organization.objects.filter(is_deleted=False).exclude(pk=self.instance.pk)
        if others.filter(slug=slug).exists():
            raise ValidationError("An organization with this slug exists.")
        return slug


@admin.register(Organization)
class OrganizationAdmin(ConfirmedSteps):
    form = OrganizationForm
    steps = (RESTORE, TEARDOWN)
    actions = ("restore", "teardown")
    inlines = (MembershipInline, InvitationInline, ManagedUserInline)
    list_display = (
        "name",
        "slug",
        "organization_id",
        "owners",
        "members",
        "shown_active",
        date_column("created_at", "Created"),
    )
    list_filter = (
        by_flag("is_active", "active"),
        by_flag("is_deleted", "deleted"),
        by_time("created_at", "time of creation"),
    )
    search_fields = ("name", "slug")
    search_help_text = "Name, slug or id"
    list_per_page = 50
    readonly_fields = (
        "organization_id",
        "shown_active",
        "shown_deletion",
        date_column("archived_at", "Archived"),
        date_column("created_at", "Created"),
    )

    def describe(self, row: Organization) -> str:
        # Its name goes when it goes, so the history keeps the id.
        return str(row.pk)

    def head(self, row: Organization) -> str:
        return row.name

    def label_choice(self, organization: Organization) -> str:
        return f"{organization.name} ({organization.slug})"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("name", "slug", *self.readonly_fields) if obj else ("name", "slug")

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj else (MembershipInline,)

    def get_queryset(self, request: HttpRequest) -> Any:
        people = Q(memberships__user__is_deleted=False)
        owners = people & Q(memberships__role=Role.OWNER)
        counted = super().get_queryset(request)
        return counted.annotate(
            member_count=Count("memberships", filter=people, distinct=True),
            owner_count=Count("memberships", filter=owners, distinct=True),
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        # Without the right to name an owner there would be none.
        may_staff = request.user.has_perm("organizations.add_membership")
        return super().has_add_permission(request) and may_staff

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_teardown_permission(self, request: HttpRequest) -> bool:
        return self.may(request, TEARDOWN)

    def has_restore_permission(self, request: HttpRequest) -> bool:
        return self.may(request, RESTORE)

    def offers(self, row: Any, step: Step) -> bool:
        return step is not RESTORE or row.is_deleted

    def subject_of(self, row: Organization) -> Reference:
        return Reference("organization", row.pk)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        organization = super().get_object(request, object_id, from_field)
        if organization is not None:
            attach_deletions("organization", [organization])
        return organization

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        now = timezone.now()
        if not change:
            obj.created_at = now
        super().save_model(request, obj, form, change)
        if not change:
            subject = Reference("organization", obj.pk)
            record("organization.created", actor=actor_of(request), subject=subject, now=now)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for member in formset.forms:
            if member.instance._state.adding:
                member.instance.joined_at = timezone.now()
        super().save_formset(request, form, formset, change)
        if formset.model is Membership:
            record_staffing(formset, actor_of(request))

    @admin.action(description="Restore…", permissions=["restore"])
    def restore(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, RESTORE.slug, queryset)

    @admin.action(description="Tear down…", permissions=["teardown"])
    def teardown(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, TEARDOWN.slug, queryset)

    @admin.display(description="Id")
    def organization_id(self, organization: Organization) -> str:
        return format_html('<span class="typed-id">{}</span>', organization.pk)

    @admin.display(description="Deletion")
    def shown_deletion(self, organization: Any) -> str:
        return show_deletion_of(organization)

    @admin.display(description="Owners", ordering="owner_count")
    def owners(self, organization: Any) -> int:
        return int(organization.owner_count)

    @admin.display(description="Members", ordering="member_count")
    def members(self, organization: Any) -> int:
        return int(organization.member_count)

    @admin.display(description="Active", boolean=True, ordering="is_active")
    def shown_active(self, organization: Organization) -> bool:
        return organization.is_active and not organization.is_deleted
