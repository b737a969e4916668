"""Django's PostgreSQL backend, which asks a connection less often whether it is still there."""
