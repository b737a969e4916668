"""Reading the fields of a body through DRF's serializers, strictly."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from contracts import ids
from contracts.errors import Fault, InvalidRequest


class StrictCharField(serializers.CharField):
    """Takes text only: a number is a number, not its digits."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class StrictIntegerField(serializers.IntegerField):
    """Takes whole numbers only: no digits in quotes, no true or false. 2.0 is a whole number, as
    JSON Schema has it."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer():
            data = int(data)
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return int(super().to_internal_value(data))


class StrictBooleanField(serializers.BooleanField):
    """Takes true and false only: no 0, no "yes"."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


def matches(pattern: str) -> RegexValidator:
    """Return the validator of a pattern ``^…$`` as JSON Schema means it: Python's ``$`` also takes
    a line break that follows."""
    return RegexValidator(pattern.removesuffix("$") + r"\Z")


class UserIdField(StrictCharField):
    """Reads ``usr_…``; what comes out is the UUID."""

    default_error_messages = {"not_an_id": "Must be a user's id, usr_…"}

    def to_internal_value(self, data: Any) -> Any:
        if (found := ids.decode(ids.USER, super().to_internal_value(data))) is None:
            self.fail("not_an_id")
        return found


def validate(serializer: type[serializers.Serializer[Any]], body: Any) -> Any:
    """Return the validated fields of a body; raises InvalidRequest with one fault for each thing
    that is wrong, fields that nobody asked for included."""
    checked = serializer(data=body)
    unknown = [
        Fault(["body", name], "This field does not exist.", "extra_forbidden")
        for name in body.keys() - checked.fields.keys()
    ]
    if checked.is_valid() and not unknown:
        return checked.validated_data
    raise InvalidRequest(*_faults(["body"], checked.errors), *unknown)


def _faults(loc: Sequence[str | int], errors: Any) -> list[Fault]:
    if isinstance(errors, Mapping):
        return [fault for key, inner in errors.items() for fault in _faults([*loc, key], inner)]
    found = []
    for index, error in enumerate(errors):
        if isinstance(error, Mapping | list):
            found += _faults([*loc, index], error)
        else:
            found.append(Fault(loc, str(error), getattr(error, "code", "invalid")))
    return found
