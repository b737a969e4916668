"""How refusals of this room read for staff."""

from accounts.exceptions import NameTaken, Oneself, SomebodyElse
from erasure.refusals import put_into_words

put_into_words(
    {
        Oneself: "this is your own account",
        SomebodyElse: "this is somebody else's account",
        NameTaken: lambda error: (
            "somebody else bears its "
            + ("e-mail address" if error.field == "email" else error.field)
        ),
    }
)
