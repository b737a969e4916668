"""How refusals and ids of this room read for staff."""

from erasure.desk.shown import spell_fact, spell_kind
from erasure.refusals import put_into_words
from organizations.oauth.exceptions import ApplicationNotFound
from organizations.oauth.models import APPLICATION

KIND = "application"

spell_kind(KIND, APPLICATION)
spell_fact(KIND, KIND)
put_into_words({ApplicationNotFound: "it has ended already"})
