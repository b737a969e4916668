"""The people and things of the tests: Alice, Bob, and Charlie, who must never be touched."""

from datetime import timedelta
from typing import Any

import factory
from django.conf import settings
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.models import Session, User
from apikeys import keyformat, scopes
from apikeys.models import ApiKey
from organizations.billing.models import Subscription
from organizations.models import Invitation, ManagedUser, Membership, Organization
from organizations.oauth import tokens
from organizations.oauth.models import AccessToken, Application, RefreshToken, spell_application
from organizations.webhooks.models import Attempt, Delivery, Endpoint, Message
from organizations.webhooks.sealing import seal
from organizations.webhooks.signatures import make_secret


class UserFactory(factory.django.DjangoModelFactory[User]):
    class Meta:
        model = User

    username = factory.Sequence(lambda n: f"user{n}")
    email = factory.LazyAttribute(lambda user: f"{user.username}@example.com")
    name = factory.Faker("name")
    password = "!"
    date_joined = factory.LazyFunction(timezone.now)


class OrganizationFactory(factory.django.DjangoModelFactory[Organization]):
    class Meta:
        model = Organization

    name = factory.Sequence(lambda n: f"Organization {n}")
    slug = factory.Sequence(lambda n: f"organization-{n}")
    created_at = factory.LazyFunction(timezone.now)


class MembershipFactory(factory.django.DjangoModelFactory[Membership]):
    class Meta:
        model = Membership

    user = factory.SubFactory(UserFactory)
    organization = factory.SubFactory(OrganizationFactory)
    role = "member"
    joined_at = factory.LazyFunction(timezone.now)


class InvitationFactory(factory.django.DjangoModelFactory[Invitation]):
    class Meta:
        model = Invitation

    organization = factory.SubFactory(OrganizationFactory)
    email = factory.Sequence(lambda n: f"guest{n}@example.com")
    token_digest = factory.Sequence(lambda n: f"{n:064x}")
    created_at = factory.LazyFunction(timezone.now)
    expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(days=7))
    sent_at = factory.LazyFunction(timezone.now)


class ManagedUserFactory(factory.django.DjangoModelFactory[ManagedUser]):
    class Meta:
        model = ManagedUser

    organization = factory.SubFactory(OrganizationFactory)
    user = factory.SubFactory(UserFactory)
    external_id = factory.Sequence(lambda n: f"external-{n}")
    created_at = factory.LazyFunction(timezone.now)


class SubscriptionFactory(factory.django.DjangoModelFactory[Subscription]):
    class Meta:
        model = Subscription

    organization = factory.SubFactory(OrganizationFactory)
    customer = factory.Sequence(lambda n: f"cus_{n:08d}")
    subscription = factory.Sequence(lambda n: f"sub_{n:08d}")
    status = "active"
    told_at = factory.LazyFunction(timezone.now)
    created_at = factory.LazyFunction(timezone.now)


class SessionFactory(factory.django.DjangoModelFactory[Session]):
    class Meta:
        model = Session

    session_key = factory.Sequence(lambda n: f"session{n:033d}")
    session_data = "data"
    expire_date = factory.LazyFunction(lambda: timezone.now() + timedelta(hours=1))
    user = factory.SubFactory(UserFactory)


def give_key(owner: User | Organization, *wanted: str, **fields: Any) -> str:
    """Give a user or an organization a key and return its secret; by default with every scope
    that its owner may hold."""
    secret = keyformat.generate(settings.API_KEY_PREFIX)
    user = owner if isinstance(owner, User) else None
    organization = owner if isinstance(owner, Organization) else None
    most = scopes.STAFF if user and user.is_staff else scopes.PERSONAL
    ApiKey.objects.create(
        name="test",
        digest=secret.digest,
        hint=secret.hint,
        user=user,
        organization=organization,
        scopes=sorted(wanted or (most if user else scopes.ORGANIZATION)),
        **{"created_at": timezone.now(), **fields},
    )
    return secret.text


class ApplicationFactory(factory.django.DjangoModelFactory[Application]):
    """One that acts for people; its secret is ``ocs-`` and the name."""

    class Meta:
        model = Application

    class Params:
        machine = factory.Trait(
            authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
            redirect_uris="",
            scopes=sorted(scopes.ORGANIZATION),
        )

    id = factory.LazyFunction(uuid7)
    client_id = factory.LazyAttribute(lambda it: spell_application(it.id))
    client_secret = factory.LazyAttribute(lambda it: keyformat.digest(f"ocs-{it.name}"))
    client_type = Application.CLIENT_CONFIDENTIAL
    authorization_grant_type = Application.GRANT_AUTHORIZATION_CODE
    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence(lambda n: f"Application {n}")
    redirect_uris = "https://client.example/callback"
    scopes = factory.LazyFunction(lambda: sorted(scopes.DELEGABLE))


def secret_of(application: Application) -> str:
    return f"ocs-{application.name}"


def authorize(user: User, application: Application, **fields: Any) -> RefreshToken:
    """Let an application act for a user, without a living refresh token."""
    now = timezone.now()
    given: dict[str, Any] = {
        "application_name": application.name,
        "scope": " ".join(application.scopes),
        "token_checksum": keyformat.digest(str(uuid7())),
        "expires": now + timedelta(days=30),
    }
    row: RefreshToken = RefreshToken.objects.create(
        user=user, application=application, **{**given, **fields}
    )
    return row


def give_token(owner: User | Application, *wanted: str, **fields: Any) -> str:
    """Give an application a token and return it: for itself, or to act for a user."""
    person = owner if isinstance(owner, User) else None
    application: Application = fields.pop("application", None) or (
        owner if isinstance(owner, Application) else ApplicationFactory()
    )
    secret = tokens.make_access_token()
    AccessToken.objects.create(
        token_checksum=secret.digest,
        application=application,
        user=person,
        family=authorize(person, application).pk if person else None,
        scope=" ".join(wanted or application.scopes),
        **{"expires": timezone.now() + timedelta(hours=1), **fields},
    )
    return secret.text


def give_webhook(organization: Organization) -> Endpoint:
    """Give an organization an endpoint that is told of members who leave, and a delivery to it."""
    now = timezone.now()
    endpoint = Endpoint.objects.create(
        organization=organization,
        url="https://hooks.example.net/in",
        events=" member.removed ",
        secret=seal(make_secret()),
        created_at=now,
    )
    message = Message.objects.create(
        type="member.removed",
        subject_kind="organization",
        subject_id=organization.pk,
        sequence=1,
        payload="{}",
        created_at=now,
    )
    delivery = Delivery.objects.create(
        message=message,
        endpoint=endpoint,
        receiver_id=endpoint.pk,
        subject_id=organization.pk,
        sequence=1,
        state="delivered",
        attempts=1,
        created_at=now,
        finished_at=now,
    )
    Attempt.objects.create(delivery=delivery, number=1, at=now, response_status=200)
    return endpoint
