"""The back office: shows everything and edits nothing; its actions call the same functions as the API and the commands.

This module only registers the pages. The order desk's are `order_admin` (the list and the page of one order, made of
`order_list`, `order_page`, `bulk_actions` and `csv_export`), `landing` (the first page), `blotter` (orders as they move) and
`feed` (the exchange's reports); `safety` has halts and limits; `people` is for administrators.
"""

import django_q.admin  # noqa: F401 - registers its own pages, and must do so before us
import knox.admin  # noqa: F401 - the same
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django_q.models import Failure, OrmQ, Schedule, Success
from knox.models import AuthToken

from orders.admin.feed import DeadLetterAdmin, FeedConnectionAdmin, FeedPositionAdmin
from orders.admin.order_admin import OrderAdmin
from orders.admin.people import AccountAdmin, RoleAdmin, TokenAdmin
from orders.admin.safety import AccountLimitsAdmin, HaltAdmin, SafetyEventAdmin
from orders.models import AccountLimits, DeadLetter, FeedConnection, FeedPosition, Halt, Order, SafetyEvent

# The queue holds only wake-ups, and "Resubmit" on its pages checks no permission.
admin.site.unregister([Failure, OrmQ, Schedule, Success])
admin.site.unregister([AuthToken, Group, User])

admin.site.register(Order, OrderAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(FeedPosition, FeedPositionAdmin)
admin.site.register(FeedConnection, FeedConnectionAdmin)
admin.site.register(Halt, HaltAdmin)
admin.site.register(AccountLimits, AccountLimitsAdmin)
admin.site.register(SafetyEvent, SafetyEventAdmin)
admin.site.register(User, AccountAdmin)
admin.site.register(Group, RoleAdmin)
admin.site.register(AuthToken, TokenAdmin)
