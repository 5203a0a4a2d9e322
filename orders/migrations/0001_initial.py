from decimal import Decimal

import django.core.serializers.json
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.comparison
import django.utils.timezone
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models

import orders.fields
import orders.models.order
from orders.roles import make_roles

# An audit trail that its own database can rewrite is none.
APPEND_ONLY = """
CREATE FUNCTION orders_safetyevent_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'safety events are append-only'; END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON orders_safetyevent
    FOR EACH ROW EXECUTE FUNCTION orders_safetyevent_append_only();
"""
NOT_APPEND_ONLY = """
DROP TRIGGER append_only ON orders_safetyevent;
DROP FUNCTION orders_safetyevent_append_only();
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('contenttypes', '0002_remove_content_type_name'),
        ('knox', '0009_extend_authtoken_field'),
    ]

    operations = [
        migrations.CreateModel(
            name='FeedPosition',
            fields=[
                ('feed', models.CharField(max_length=32, primary_key=True, serialize=False)),
                ('session_id', models.CharField(max_length=64)),
                ('sequence', models.BigIntegerField()),
                ('look_up_open_at', models.DateTimeField(null=True)),
                ('look_up_open_began_at', models.DateTimeField(null=True)),
                ('look_up_open_after', models.UUIDField(null=True)),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name='RelayPosition',
            fields=[
                ('relay', models.CharField(max_length=32, primary_key=True, serialize=False)),
                ('snapshot', models.TextField()),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name='AccountLimits',
            fields=[
                ('account', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='limits', serialize=False, to=settings.AUTH_USER_MODEL)),
                ('max_quantity', models.IntegerField(blank=True, help_text='The largest quantity of one order.', null=True, validators=[django.core.validators.MinValueValidator(1)])),
                ('max_notional', models.DecimalField(blank=True, decimal_places=2, help_text='The most that quantity times limit price may be.', max_digits=28, null=True, validators=[django.core.validators.MinValueValidator(Decimal('0.01'))])),
                ('price_collar_percent', models.DecimalField(blank=True, decimal_places=2, help_text='How far a limit price may be from the last execution.', max_digits=7, null=True, validators=[django.core.validators.MinValueValidator(Decimal('0.01'))])),
                ('orders_per_second', models.IntegerField(blank=True, help_text='Orders that may come within one second.', null=True, validators=[django.core.validators.MinValueValidator(1)])),
                ('open_orders', models.IntegerField(blank=True, help_text='Orders that may be open at the same time.', null=True, validators=[django.core.validators.MinValueValidator(1)])),
            ],
            options={
                'verbose_name': 'account limits',
                'verbose_name_plural': 'account limits',
                'default_permissions': ['view', 'change'],
                'constraints': [models.CheckConstraint(condition=models.Q(('max_quantity__gt', 0)), name='limit_max_quantity_positive'), models.CheckConstraint(condition=models.Q(('max_notional__gt', 0)), name='limit_max_notional_positive'), models.CheckConstraint(condition=models.Q(('price_collar_percent__gt', 0)), name='limit_price_collar_percent_positive'), models.CheckConstraint(condition=models.Q(('orders_per_second__gt', 0)), name='limit_orders_per_second_positive'), models.CheckConstraint(condition=models.Q(('open_orders__gt', 0)), name='limit_open_orders_positive')],
            },
        ),
        migrations.CreateModel(
            name='FeedConnection',
            fields=[
                ('feed', models.CharField(max_length=32, primary_key=True, serialize=False)),
                ('is_connected', models.BooleanField()),
                ('since', models.DateTimeField()),
                ('problem', models.TextField(null=True)),
                ('said_at', models.DateTimeField()),
                ('session_id', models.CharField(max_length=64, null=True)),
                ('last_sequence', models.BigIntegerField(null=True)),
                ('silent_since', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('is_connected', True), ('problem__isnull', True)), models.Q(('is_connected', False), ('problem__isnull', False)), _connector='OR'), name='feed_connected_or_has_problem')],
            },
        ),
        migrations.CreateModel(
            name='LastPrice',
            fields=[
                ('instrument', models.CharField(max_length=12, primary_key=True, serialize=False)),
                ('price', models.DecimalField(decimal_places=8, max_digits=27)),
                ('executed_at', models.DateTimeField()),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('price__gt', 0)), name='last_price_positive'), models.CheckConstraint(condition=models.Q(('instrument__regex', '^[A-Z0-9][A-Z0-9._-]{11}$')), name='last_price_instrument_has_12_characters')],
            },
        ),
        migrations.CreateModel(
            name='Order',
            fields=[
                ('id', models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False)),
                ('client_order_id', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('type', models.CharField(choices=[('market', 'Market'), ('limit', 'Limit')], max_length=6)),
                ('side', models.CharField(choices=[('buy', 'Buy'), ('sell', 'Sell')], max_length=4)),
                ('instrument', models.CharField(max_length=12)),
                ('limit_price', models.DecimalField(decimal_places=2, max_digits=19, null=True)),
                ('quantity', models.IntegerField()),
                ('expires_at', models.DateTimeField(null=True)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('completed', 'Completed'), ('failed', 'Failed'), ('error', 'Error'), ('canceled', 'Canceled')], default='pending', max_length=9)),
                ('error_code', models.CharField(choices=[('exchange_unavailable', 'Exchange Unavailable'), ('refused_by_exchange', 'Refused By Exchange'), ('refused_by_limits', 'Refused By Limits'), ('expired_before_placement', 'Expired Before Placement'), ('outcome_unknown', 'Outcome Unknown'), ('internal_error', 'Internal Error')], max_length=32, null=True)),
                ('error_message', models.TextField(null=True)),
                ('attempt_count', models.IntegerField(default=0)),
                ('next_attempt_at', models.DateTimeField(default=django.utils.timezone.now, null=True)),
                ('claimed_until', models.DateTimeField(null=True)),
                ('give_up_at', models.DateTimeField()),
                ('held_at', models.DateTimeField(null=True)),
                ('may_be_at_exchange', models.BooleanField(default=False)),
                ('sent_valid_until', models.DateTimeField(null=True)),
                ('cancel_requested_at', models.DateTimeField(null=True)),
                ('exchange_order_id', models.CharField(max_length=64, null=True)),
                ('placed_at', models.DateTimeField(null=True)),
                ('execution_status', models.CharField(choices=[('new', 'New'), ('partially_filled', 'Partially Filled'), ('filled', 'Filled'), ('pending_cancel', 'Pending Cancel'), ('canceled', 'Canceled'), ('rejected', 'Rejected'), ('expired', 'Expired')], max_length=16, null=True)),
                ('filled_quantity', models.IntegerField(default=0)),
                ('filled_value', models.DecimalField(decimal_places=8, default=Decimal(0), max_digits=38)),
                ('average_price', models.DecimalField(decimal_places=8, max_digits=27, null=True)),
                ('reported_quantity', models.IntegerField(db_default=0, default=0)),
                ('looked_up_quantity', models.IntegerField(db_default=0, default=0)),
                ('look_up_at', models.DateTimeField(null=True)),
                ('discrepancy', models.TextField(null=True)),
                ('absent_since', models.DateTimeField(null=True)),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='orders', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'permissions': [('retry_order', 'Can retry orders'), ('cancel_order', 'Can cancel orders'), ('export_order', 'Can export orders'), ('end_order', 'Can end orders that the exchange does not have')],
            },
        ),
        migrations.CreateModel(
            name='DeadLetter',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('raw', models.TextField()),
                ('reason', models.TextField()),
                ('session_id', models.CharField(max_length=64)),
                ('sequence', models.BigIntegerField(null=True)),
                ('received_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('applied_at', models.DateTimeField(null=True)),
                ('order', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='dead_letters', to='orders.order')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='OrderEvent',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('event_id', models.CharField(default=orders.models.order.new_event_id, max_length=128)),
                ('type', models.CharField(choices=[('accepted', 'Accepted'), ('retrying', 'Retrying'), ('placed', 'Placed'), ('failed', 'Failed'), ('error', 'Error'), ('canceled', 'Canceled'), ('partially_filled', 'Partially Filled'), ('filled', 'Filled'), ('cancel_requested', 'Cancel Requested'), ('pending_cancel', 'Pending Cancel'), ('cancel_rejected', 'Cancel Rejected'), ('rejected', 'Rejected'), ('expired', 'Expired'), ('retry_requested', 'Retry Requested'), ('reconciled', 'Reconciled'), ('held', 'Held'), ('released', 'Released')], max_length=16)),
                ('data', models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ('occurred_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('recorded_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('tx', orders.fields.TransactionIdField(db_default=orders.fields.CurrentTransactionId(), editable=False)),
                ('tx_floor', orders.fields.TransactionIdField(db_default=orders.fields.OldestRunningTransactionId(), editable=False)),
                ('account', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('order', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='events', to='orders.order')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='PlacementWorker',
            fields=[
                ('name', models.CharField(max_length=200, primary_key=True, serialize=False)),
                ('said_at', models.DateTimeField()),
                ('clock_offset_s', models.FloatField(null=True)),
                ('problem', models.TextField(null=True)),
                ('paused_until', models.DateTimeField(null=True)),
            ],
            options={
                'default_permissions': (),
                'constraints': [models.CheckConstraint(condition=models.Q(('paused_until__isnull', True), ('problem__isnull', False), _connector='OR'), name='paused_worker_has_problem')],
            },
        ),
        migrations.CreateModel(
            name='SafetyEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('type', models.CharField(choices=[('halted', 'Halted'), ('resumed', 'Resumed'), ('limits_changed', 'Limits Changed')], max_length=16)),
                ('instrument', models.CharField(max_length=12, null=True)),
                ('by', models.CharField(max_length=200)),
                ('reason', models.TextField()),
                ('data', models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ('occurred_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('account', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'default_permissions': ['view'],
            },
        ),
        migrations.CreateModel(
            name='Halt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('instrument', models.CharField(max_length=12, null=True)),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('started_by', models.CharField(max_length=200)),
                ('reason', models.TextField()),
                ('stopping_since', models.DateTimeField(null=True)),
                ('confirmed_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('ended_by', models.CharField(max_length=200, null=True)),
                ('end_reason', models.TextField(null=True)),
                ('released_up_to', models.UUIDField(null=True)),
                ('released_at', models.DateTimeField(null=True)),
                ('account', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-id'],
                'permissions': [('halt_trading', 'Can halt trading'), ('resume_trading', 'Can resume trading')],
                'default_permissions': ['view'],
                'indexes': [models.Index(condition=models.Q(('released_at__isnull', True)), fields=['id'], name='halt_not_released')],
                'constraints': [models.CheckConstraint(condition=models.Q(('account__isnull', True), ('instrument__isnull', True), _connector='OR'), name='halt_has_one_scope'), models.CheckConstraint(condition=models.Q(('instrument__regex', '^[A-Z0-9][A-Z0-9._-]{11}$')), name='halt_instrument_has_12_characters'), models.CheckConstraint(condition=models.Q(('reason__regex', '\\S'), models.Q(('end_reason__isnull', True), ('end_reason__regex', '\\S'), _connector='OR')), name='halt_says_why'), models.CheckConstraint(condition=models.Q(models.Q(('end_reason__isnull', True), ('ended_at__isnull', True), ('ended_by__isnull', True), ('released_up_to__isnull', True)), models.Q(('end_reason__isnull', False), ('ended_at__gte', models.F('started_at')), ('ended_by__isnull', False)), _connector='OR'), name='halt_ended_by_a_person_with_a_reason'), models.CheckConstraint(condition=models.Q(('confirmed_at__isnull', True), models.Q(('confirmed_at__gte', models.F('stopping_since')), ('stopping_since__isnull', False)), _connector='OR'), name='halt_confirmed_after_it_was_known'), models.CheckConstraint(condition=models.Q(('released_at__isnull', True), models.Q(('ended_at__isnull', False), ('released_at__gte', models.F('ended_at'))), _connector='OR'), name='halt_released_after_its_end'), models.UniqueConstraint(django.db.models.functions.comparison.Coalesce('account', models.Value(0)), django.db.models.functions.comparison.Coalesce('instrument', models.Value('')), condition=models.Q(('ended_at__isnull', True)), name='one_halt_in_force_per_scope')],
            },
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(fields=['account', '-id'], name='order_by_account'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(fields=['instrument', '-id'], name='order_by_instrument'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('exchange_order_id__isnull', False)), fields=['exchange_order_id'], name='order_by_exchange_id'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('next_attempt_at__isnull', False)), fields=['next_attempt_at', 'id'], name='order_due'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('held_at__isnull', True), ('status', 'pending')), fields=['give_up_at'], name='order_give_up'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('held_at__isnull', False)), fields=['expires_at'], name='order_held'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('status__in', ['failed', 'error']), models.Q(('error_code', 'refused_by_limits'), _negated=True)), fields=['-id'], name='order_needs_operator'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('status__in', ['pending', 'error']), ('execution_status__in', ['new', 'partially_filled', 'pending_cancel']), _connector='OR'), fields=['account'], name='order_open_by_account'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('status', 'completed'), _negated=True), fields=['status', '-id'], include=('error_code',), name='order_not_completed'),
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
            model_name='order',
            index=models.Index(condition=models.Q(('execution_status__in', ['new', 'partially_filled', 'pending_cancel']), ('may_be_at_exchange', True), _connector='OR'), fields=['id'], name='order_open_at_exchange'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.UniqueConstraint(fields=('client_order_id', 'account'), name='one_order_per_client_order_id'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('type__in', ['market', 'limit'])), name='order_type_known'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('side__in', ['buy', 'sell'])), name='order_side_known'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['pending', 'completed', 'failed', 'error', 'canceled'])), name='order_status_known'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('error_code__in', ['exchange_unavailable', 'refused_by_exchange', 'refused_by_limits', 'expired_before_placement', 'outcome_unknown', 'internal_error'])), name='order_error_code_known'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('execution_status__in', ['new', 'partially_filled', 'filled', 'pending_cancel', 'canceled', 'rejected', 'expired'])), name='order_execution_status_known'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('limit_price__isnull', True), ('type', 'market')), models.Q(('limit_price__isnull', False), ('type', 'limit')), _connector='OR'), name='market_order_no_price'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('limit_price__gt', 0)), name='limit_price_positive'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('quantity__gt', 0)), name='quantity_positive'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('instrument__regex', '^[A-Z0-9][A-Z0-9._-]{11}$')), name='instrument_has_12_characters'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('client_order_id__regex', '^[!-~]([ -~]{0,62}[!-~])?$')), name='client_order_id_printable'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'completed'), _negated=True), models.Q(('exchange_order_id__isnull', False), ('placed_at__isnull', False)), _connector='OR'), name='completed_has_exchange_id_and_time'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('execution_status__isnull', False), ('status', 'completed')), models.Q(models.Q(('status', 'completed'), _negated=True), ('execution_status__isnull', True)), _connector='OR'), name='execution_status_exactly_when_completed'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status__in', ['failed', 'error']), _negated=True), models.Q(('error_code__isnull', False), ('error_message__isnull', False)), _connector='OR'), name='failure_has_code_and_message'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status__in', ['failed', 'canceled']), _negated=True), ('may_be_at_exchange', False), _connector='OR'), name='settled_without_exchange_is_not_there'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('may_be_at_exchange', True), ('sent_valid_until__isnull', False)), models.Q(('may_be_at_exchange', False), ('sent_valid_until__isnull', True)), _connector='OR'), name='sent_valid_until_exactly_when_sent'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('status', 'pending'), _negated=True), ('next_attempt_at__isnull', False), ('held_at__isnull', False), _connector='OR'), name='pending_has_next_attempt'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('held_at__isnull', True), models.Q(('cancel_requested_at__isnull', True), ('may_be_at_exchange', False), ('next_attempt_at__isnull', True), ('status', 'pending')), _connector='OR'), name='held_only_before_a_send'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('cancel_requested_at__isnull', True), models.Q(('next_attempt_at__isnull', False), ('status__in', ['pending', 'error', 'completed'])), _connector='OR'), name='cancel_requested_has_next_attempt'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('expires_at__isnull', True), ('give_up_at__lte', models.F('expires_at')), _connector='OR'), name='give_up_not_after_expiry'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('attempt_count__gte', 0)), name='attempt_count_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(('filled_quantity__gte', 0), ('filled_quantity__lte', models.F('quantity'))), name='filled_quantity_within_quantity'),
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
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('execution_status', 'filled'), ('filled_quantity', models.F('quantity'))), models.Q(models.Q(('execution_status__isnull', True), models.Q(('execution_status', 'filled'), _negated=True), _connector='OR'), ('filled_quantity__lt', models.F('quantity'))), _connector='OR'), name='filled_exactly_when_all_is_filled'),
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('average_price__isnull', True), ('filled_quantity', 0), ('filled_value', 0)), models.Q(('average_price__isnull', False), ('filled_quantity__gt', 0), ('filled_value__gt', 0)), _connector='OR'), name='average_price_exactly_when_filled_at_all'),
        ),
        migrations.AddIndex(
            model_name='deadletter',
            index=models.Index(condition=models.Q(('applied_at__isnull', True)), fields=['id'], name='dead_letter_waiting'),
        ),
        migrations.AddIndex(
            model_name='deadletter',
            index=models.Index(condition=models.Q(('order__isnull', False)), fields=['order', 'id'], name='dead_letter_by_order'),
        ),
        migrations.AddConstraint(
            model_name='deadletter',
            constraint=models.UniqueConstraint(fields=('session_id', 'sequence'), name='dead_letter_once'),
        ),
        migrations.AddIndex(
            model_name='orderevent',
            index=models.Index(fields=['order', 'id'], name='order_event_history'),
        ),
        migrations.AddIndex(
            model_name='orderevent',
            index=models.Index(fields=['tx'], name='order_event_by_tx'),
        ),
        migrations.AddIndex(
            model_name='orderevent',
            index=models.Index(fields=['account', 'tx'], name='order_event_by_account_tx'),
        ),
        migrations.AddIndex(
            model_name='orderevent',
            index=models.Index(condition=models.Q(('type__in', ['placed', 'retrying', 'failed', 'error'])), fields=['type', 'recorded_at'], name='order_event_outcome'),
        ),
        migrations.AddConstraint(
            model_name='orderevent',
            constraint=models.CheckConstraint(condition=models.Q(('type__in', ['accepted', 'retrying', 'placed', 'failed', 'error', 'canceled', 'partially_filled', 'filled', 'cancel_requested', 'pending_cancel', 'cancel_rejected', 'rejected', 'expired', 'retry_requested', 'reconciled', 'held', 'released'])), name='order_event_type_known'),
        ),
        migrations.AddConstraint(
            model_name='orderevent',
            constraint=models.UniqueConstraint(fields=('event_id',), name='order_event_id_once'),
        ),
        migrations.AddConstraint(
            model_name='orderevent',
            constraint=models.UniqueConstraint(condition=models.Q(('type', 'placed')), fields=('order',), name='placed_at_most_once'),
        ),
        migrations.AddConstraint(
            model_name='safetyevent',
            constraint=models.CheckConstraint(condition=models.Q(('type__in', ['halted', 'resumed', 'limits_changed'])), name='safety_event_type_known'),
        ),
        migrations.RunSQL(APPEND_ONLY, NOT_APPEND_ONLY),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
    ]
