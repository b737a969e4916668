"""What a slug looks like: the short name of an organization, typed by people and in addresses."""

import re
from uuid import UUID

from organizations.exceptions import SlugRefused

PATTERN = "^[a-z0-9]+(-[a-z0-9]+)*$"
SHORTEST, LONGEST = 2, 60


def forbid_bad_slug(slug: str) -> None:
    """Raise SlugRefused unless a slug is made of 2 to 60 small letters and digits, with single
    hyphens between them. A UUID is none: wherever a slug is read, an id may stand, too."""
    fits = SHORTEST <= len(slug) <= LONGEST and re.fullmatch(PATTERN, slug)
    if not fits or slug.endswith("\n") or _is_uuid(slug):
        raise SlugRefused(slug)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
