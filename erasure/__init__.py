"""Deletions from request to completion. Knows no model that it erases by name."""
