"""The service's settings, with an app that lets an organization own millions of rows."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS += ["benchmarks.estate"]
SILENCED_SYSTEM_CHECKS = ["models.E050", "fields.E323"]
