"""The service's settings, but for SQLite's transactions: these begin as they do without ours, and
take the write lock when they first write. For the control of the mixed load."""

from config.settings import *  # noqa: F403
from config.settings import DATABASES

del DATABASES["default"]["OPTIONS"]["transaction_mode"]
