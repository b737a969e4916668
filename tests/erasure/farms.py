"""A tree of models that hang on farms, four generations deep, and its policies.

Nothing here is installed: the tables are made for a test and dropped after it.
"""

from typing import Any, ClassVar

from django.apps.registry import Apps
from django.db import connection, models
from django.db.models import DB_CASCADE, DB_SET_NULL

from erasure.policies import DELETE, Detach, Loose, Policy
from erasure.subjects import SubjectKind

registry = Apps()


class Grown(models.Model):
    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        abstract = True
        app_label = "grown"
        apps = registry


class Farm(Grown):
    id = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=20)

    class Meta(Grown.Meta):
        pass


class Acre(Grown):
    id = models.UUIDField(primary_key=True)
    farm = models.ForeignKey(Farm, DB_CASCADE)

    class Meta(Grown.Meta):
        pass


class Bed(Grown):
    """Bears a name for its key."""

    id = models.CharField(max_length=20, primary_key=True)
    acre = models.ForeignKey(Acre, DB_CASCADE)

    class Meta(Grown.Meta):
        pass


class Plant(Grown):
    """Hangs on its bed, and some on a farm as well."""

    bed = models.ForeignKey(Bed, DB_CASCADE)
    farm = models.ForeignKey(Farm, DB_CASCADE, null=True)

    class Meta(Grown.Meta):
        indexes = [models.Index(fields=["bed", "-id"], name="grown_plant_in_order")]


class Fence(Grown):
    acre = models.ForeignKey(Acre, DB_CASCADE)

    class Meta(Grown.Meta):
        pass


class Hand(Grown):
    farm = models.ForeignKey(Farm, DB_CASCADE)
    person = models.IntegerField()

    class Meta(Grown.Meta):
        constraints = [
            models.UniqueConstraint(fields=["farm", "person"], name="grown_one_hand"),
        ]


class Notice(Grown):
    """Names a farm in words, and has lines of its own."""

    about = models.CharField(max_length=20)

    class Meta(Grown.Meta):
        pass


class Line(Grown):
    notice = models.ForeignKey(Notice, DB_CASCADE)

    class Meta(Grown.Meta):
        pass


class Visit(Grown):
    """Stays, and forgets the farm."""

    farm = models.ForeignKey(Farm, DB_SET_NULL, null=True)

    class Meta(Grown.Meta):
        pass


def declare(model: type[models.Model], *loose: Loose, **link: Any) -> Policy:
    nothing: frozenset[str] = frozenset()
    return Policy(model._meta.label, link, loose, nothing, nothing, nothing, {}, "")


POLICIES: dict[type[models.Model], Policy] = {
    Farm: declare(Farm),
    Acre: declare(Acre, farm=DELETE),
    Bed: declare(Bed, acre=DELETE),
    Plant: declare(Plant, bed=DELETE, farm=DELETE),
    Fence: declare(Fence, acre=DELETE),
    Hand: declare(Hand, farm=DELETE),
    Notice: declare(Notice, Loose("about", kind="farm", to="name", fate=DELETE)),
    Line: declare(Line, notice=DELETE),
    Visit: declare(Visit, farm=Detach("The visitor's.")),
}
MODELS = list(POLICIES)


class FarmKind(SubjectKind):
    name = "farm"
    model_label = "grown.Farm"

    @property
    def model(self) -> type[models.Model]:
        return Farm


def create_tables() -> None:
    with connection.schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)


def drop_tables() -> None:
    with connection.schema_editor() as editor:
        for model in reversed(MODELS):
            editor.delete_model(model)
