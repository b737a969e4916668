"""Append-only record of what happened, without personal data. Imports nothing of ours."""
