"""The exchange's own word that it has a cancel is an event of its own. All rows are within the old list, so none is read."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [('orders', '0013_placement_workers')]

    operations = [
        migrations.AlterField(
            model_name='orderevent',
            name='type',
            field=models.CharField(choices=[('accepted', 'Accepted'), ('retrying', 'Retrying'), ('placed', 'Placed'), ('failed', 'Failed'), ('error', 'Error'), ('canceled', 'Canceled'), ('partially_filled', 'Partially Filled'), ('filled', 'Filled'), ('cancel_requested', 'Cancel Requested'), ('pending_cancel', 'Pending Cancel'), ('cancel_rejected', 'Cancel Rejected'), ('rejected', 'Rejected'), ('expired', 'Expired'), ('retry_requested', 'Retry Requested'), ('reconciled', 'Reconciled'), ('held', 'Held'), ('released', 'Released')], max_length=16),
        ),
        migrations.RemoveConstraint(model_name='orderevent', name='order_event_type_known'),
        AddConstraintNotValid(
            model_name='orderevent',
            constraint=models.CheckConstraint(
                condition=models.Q(('type__in', ['accepted', 'retrying', 'placed', 'failed', 'error', 'canceled', 'partially_filled', 'filled', 'cancel_requested', 'pending_cancel', 'cancel_rejected', 'rejected', 'expired', 'retry_requested', 'reconciled', 'held', 'released'])),
                name='order_event_type_known',
            ),
        ),
    ]
