"""Users are subjects of deletion."""

from erasure.subjects import register_subject

register_subject("user", "accounts.User")
