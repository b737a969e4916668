"""How the desk tells that something was refused."""

from erasure.refusals import tell_refusal


def explain(error: Exception) -> str:
    """Return a refusal in plain words, for the member of staff who ran into it."""
    return f"nothing was done: {tell_refusal(error)}."
