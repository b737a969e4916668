"""A project of its own, with nothing of Sexton's but ``erasure`` and ``audit``: a blog."""
