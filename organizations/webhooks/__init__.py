"""Webhooks: what happened is told to those who asked for it, over HTTP, signed and in order."""
