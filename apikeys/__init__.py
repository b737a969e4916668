"""API keys: their format, their rows and their verification."""
