from django.contrib.auth.hashers import Argon2PasswordHasher


class DemoPasswordHasher(Argon2PasswordHasher):
    """Marks a password that the demo made up. Production settings do not list this hasher, so a
    demo database that ends up there lets nobody in. ``User.check_password`` keeps the mark."""

    algorithm = "demo_argon2"
