"""What every HTTP edge shares: credentials, errors, throttling, idempotency, documentation.

No contract's words live here, and no domain rule.
"""
