"""The back office: everything can be seen, nothing edited; what is done goes the same way as everywhere else.

Here stands only which pages there are. The order desk's are `order_admin` (the list and the page of one order, made of
`order_list`, `order_page`, `bulk_actions` and `csv_export`), `landing` (what the desk sees first), `blotter` (orders as they
move) and `feed` (the exchange's reports); `safety` has halts and limits; `people` is for administrators.
"""

import django_q.admin  # noqa: F401 - it registers pages of its own, which it would do after us otherwise
import knox.admin  # noqa: F401 - the same
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django_q.models import Failure, OrmQ, Schedule, Success
from knox.models import AuthToken

from orders.admin.feed import FeedConnectionAdmin, FeedPositionAdmin, SetAsideReportAdmin
from orders.admin.order_admin import OrderAdmin
from orders.admin.people import AccountAdmin, RoleAdmin, TokenAdmin
from orders.admin.safety import AccountLimitsAdmin, HaltAdmin, SafetyEventAdmin
from orders.models import AccountLimits, DeadLetter, FeedConnection, FeedPosition, Halt, Order, SafetyEvent

# The queue holds nothing but wake-ups, and "Resubmit" on its pages asks nobody whether a person may do that.
admin.site.unregister([Failure, OrmQ, Schedule, Success])
admin.site.unregister([AuthToken, Group, User])

admin.site.register(Order, OrderAdmin)
admin.site.register(DeadLetter, SetAsideReportAdmin)
admin.site.register(FeedPosition, FeedPositionAdmin)
admin.site.register(FeedConnection, FeedConnectionAdmin)
admin.site.register(Halt, HaltAdmin)
admin.site.register(AccountLimits, AccountLimitsAdmin)
admin.site.register(SafetyEvent, SafetyEventAdmin)
admin.site.register(User, AccountAdmin)
admin.site.register(Group, RoleAdmin)
admin.site.register(AuthToken, TokenAdmin)
