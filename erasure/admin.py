"""The review desk: deletion requests, legal holds, pauses and bulk erasures.

Each class can be registered with another admin site as well.
"""

from django.contrib import admin

from erasure.desk.bulks import BulkErasureAdmin
from erasure.desk.deletions import DeletionRequestAdmin
from erasure.desk.holds import LegalHoldAdmin
from erasure.desk.pauses import PauseAdmin
from erasure.models import BulkErasure, DeletionRequest, LegalHold, Pause

admin.site.register(DeletionRequest, DeletionRequestAdmin)
admin.site.register(LegalHold, LegalHoldAdmin)
admin.site.register(Pause, PauseAdmin)
admin.site.register(BulkErasure, BulkErasureAdmin)
