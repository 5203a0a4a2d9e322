"""What the exchange says is compared with what is known: totals by units, contradictions, and orders that are to be looked up."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# What was counted so far stays counted, by whom it was told.
COUNTED = """
    UPDATE orders_order SET reported_quantity = filled_quantity,
        looked_up_quantity = CASE WHEN reconciled_session IS NULL THEN 0 ELSE filled_quantity END
    WHERE filled_quantity > 0"""
# Reports that were missing when the last release stopped.
WANTED = "UPDATE orders_feedposition SET look_up_open_at = now() WHERE reconcile_events_after IS NOT NULL"


def make_roles(apps, schema_editor):
    """Permissions are made after all migrations usually, so this one is made here; what comes later finds it."""
    ContentType = apps.get_model('contenttypes', 'ContentType')
    Permission = apps.get_model('auth', 'Permission')
    content_type, _ = ContentType.objects.get_or_create(app_label='orders', model='order')
    permission, _ = Permission.objects.get_or_create(
        content_type=content_type, codename='end_order', defaults={'name': 'Can end orders that the exchange does not have'}
    )
    for group in apps.get_model('auth', 'Group').objects.filter(name__in=['desk operator', 'administrator']):
        group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0009_feed_last_sequence'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='order',
            options={'ordering': ['-id'], 'permissions': [('retry_order', 'Can retry orders'), ('cancel_order', 'Can cancel orders'), ('export_order', 'Can export orders'), ('end_order', 'Can end orders that the exchange does not have')]},
        ),
        migrations.AddField(
            model_name='feedconnection',
            name='silent_since',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='feedposition',
            name='look_up_open_after',
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name='feedposition',
            name='look_up_open_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='feedposition',
            name='look_up_open_began_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='order',
            name='absent_since',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='order',
            name='discrepancy',
            field=models.TextField(null=True),
        ),
        migrations.AddField(
            model_name='order',
            name='look_up_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='order',
            name='looked_up_quantity',
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='order',
            name='reported_quantity',
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='setasidereport',
            name='order',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='set_aside', to='orders.order'),
        ),
        migrations.RunSQL(COUNTED, migrations.RunSQL.noop),
        migrations.RunSQL(WANTED, migrations.RunSQL.noop),
        migrations.DeleteModel(
            name='FeedSession',
        ),
        migrations.RemoveField(
            model_name='feedposition',
            name='reconcile_events_after',
        ),
        migrations.RemoveField(
            model_name='order',
            name='reconciled_sequence',
        ),
        migrations.RemoveField(
            model_name='order',
            name='reconciled_session',
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('look_up_at__isnull', False)), fields=['look_up_at', 'id'], name='order_to_look_up'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('discrepancy__isnull', False)), fields=['-id'], name='order_with_discrepancy'),
        ),
        migrations.AddIndex(
            model_name='setasidereport',
            index=models.Index(condition=models.Q(('order__isnull', False)), fields=['order', 'id'], name='set_aside_by_order'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('reported_quantity__gte', models.F('filled_quantity')), ('reported_quantity__lte', models.F('quantity'))), name='reported_quantity_from_filled_to_quantity'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('looked_up_quantity__gte', 0), ('looked_up_quantity__lte', models.F('filled_quantity'))), name='looked_up_quantity_within_filled_quantity'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('discrepancy__isnull', True), ('look_up_at__isnull', False), _connector='OR'), name='discrepancy_is_looked_up'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('absent_since__isnull', True), models.Q(('discrepancy__isnull', False), ('status', 'completed')), _connector='OR'), name='absent_only_when_completed'),
        ),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
    ]
