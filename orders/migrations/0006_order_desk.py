"""What the order desk's pages need: indexes, the state of the feed, and the roles that staff can be given."""

from django.conf import settings
from django.db import migrations, models

READ = {
    ('orders', 'order'): ['view', 'export'],
    ('orders', 'setasidereport'): ['view'],
    ('orders', 'feedposition'): ['view'],
    ('orders', 'feedconnection'): ['view'],
}
ACT = {('orders', 'order'): ['retry', 'cancel']}
ADMINISTER = {
    ('auth', 'user'): ['add', 'change', 'delete', 'view'],
    ('auth', 'group'): ['add', 'change', 'delete', 'view'],
    ('knox', 'authtoken'): ['delete', 'view'],
}
ROLES = {
    'desk viewer': [READ],
    'desk operator': [READ, ACT],
    'administrator': [READ, ACT, ADMINISTER],
}


def make_roles(apps, schema_editor):
    """Make the groups, or give those that are there what they lack.

    Permissions are made after all migrations usually (signal post_migrate), so the ones that are needed are made here;
    what comes later finds them.
    """
    ContentType = apps.get_model('contenttypes', 'ContentType')
    Permission = apps.get_model('auth', 'Permission')
    Group = apps.get_model('auth', 'Group')
    for role, grants in ROLES.items():
        group, _ = Group.objects.get_or_create(name=role)
        for grant in grants:
            for (app, model), verbs in grant.items():
                content_type, _ = ContentType.objects.get_or_create(app_label=app, model=model)
                for verb in verbs:
                    permission, _ = Permission.objects.get_or_create(
                        content_type=content_type, codename=f'{verb}_{model}', defaults={'name': name_of(apps, app, model, verb)}
                    )
                    group.permissions.add(permission)


def name_of(apps, app, model, verb):
    """As Django names it, and the model's own permissions as they name themselves."""
    options = apps.get_model(app, model)._meta
    return dict(options.permissions).get(f'{verb}_{model}', f'Can {verb} {options.verbose_name}')


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0005_safety'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('knox', '0009_extend_authtoken_field'),
    ]

    operations = [
        migrations.CreateModel(
            name='FeedConnection',
            fields=[
                ('feed', models.CharField(max_length=32, primary_key=True, serialize=False)),
                ('is_connected', models.BooleanField()),
                ('since', models.DateTimeField()),
                ('problem', models.TextField(null=True)),
                ('said_at', models.DateTimeField()),
            ],
        ),
        migrations.AddConstraint(
            model_name='feedconnection',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('is_connected', True), ('problem__isnull', True)), models.Q(('is_connected', False), ('problem__isnull', False)), _connector='OR'), name='feed_connected_or_has_problem'),
        ),
        migrations.AlterModelOptions(
            name='order',
            options={'ordering': ['-id'], 'permissions': [('retry_order', 'Can retry orders'), ('cancel_order', 'Can cancel orders'), ('export_order', 'Can export orders')]},
        ),
        migrations.RemoveConstraint(
            model_name='order',
            name='one_order_per_client_order_id',
        ),
        migrations.AddConstraint(
            model_name='order',
            constraint=models.UniqueConstraint(fields=('client_order_id', 'account'), name='one_order_per_client_order_id'),
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
            index=models.Index(condition=models.Q(('status', 'completed'), _negated=True), fields=['status', '-id'], include=['error_code'], name='order_not_completed'),
        ),
        migrations.AddIndex(
            model_name='orderevent',
            index=models.Index(condition=models.Q(('type__in', ['placed', 'retrying', 'failed', 'error'])), fields=['type', 'recorded_at'], name='order_event_outcome'),
        ),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
    ]
