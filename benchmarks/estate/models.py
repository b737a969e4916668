"""Two trees that hang on an organization: one wide at its leaves, as comments are, and one where
every second row is a parent, as deliveries with their attempts are.

The tables are written by ``world``. Which way of deletion the models declare depends on the peer:
the database's own cascade, Django's collector, or django-safedelete.
"""

import os
from typing import TYPE_CHECKING, Any

from django.db import models

PEER = os.environ.get("ESTATE_PEER", "ours")
ON_DELETE: Any = models.DB_CASCADE if PEER == "ours" else models.CASCADE

if TYPE_CHECKING or PEER != "safedelete":
    Base = models.Model
else:
    from safedelete.models import SOFT_DELETE_CASCADE, SafeDeleteModel

    class Base(SafeDeleteModel):
        _safedelete_policy = SOFT_DELETE_CASCADE

        class Meta:
            abstract = True


class Project(Base):
    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey("organizations.Organization", ON_DELETE)
    name = models.TextField()

    class Meta:
        managed = False


class Task(Base):
    id = models.UUIDField(primary_key=True)
    project = models.ForeignKey(Project, ON_DELETE)
    title = models.TextField()

    class Meta:
        managed = False


class Comment(Base):
    id = models.UUIDField(primary_key=True)
    task = models.ForeignKey(Task, ON_DELETE)
    body = models.TextField()

    class Meta:
        managed = False


class Endpoint(Base):
    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey("organizations.Organization", ON_DELETE)
    url = models.TextField()

    class Meta:
        managed = False


class Delivery(Base):
    id = models.UUIDField(primary_key=True)
    endpoint = models.ForeignKey(Endpoint, ON_DELETE)
    body = models.TextField()

    class Meta:
        managed = False
        indexes = [models.Index(fields=["endpoint", "id"], name="estate_in_order")]


class Attempt(Base):
    id = models.UUIDField(primary_key=True)
    delivery = models.ForeignKey(Delivery, ON_DELETE)
    answer = models.TextField()

    class Meta:
        managed = False
