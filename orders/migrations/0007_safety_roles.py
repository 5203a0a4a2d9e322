"""Who may switch halts and set limits: operators may stop trading, administrators may also let it go on and set limits."""

from django.db import migrations

VIEW = {'view_halt': 'halt', 'view_accountlimits': 'accountlimits', 'view_safetyevent': 'safetyevent'}
HALT = {'halt_trading': 'halt'}
ADMINISTER = {'resume_trading': 'halt', 'change_accountlimits': 'accountlimits'}
ROLES = {
    'desk viewer': VIEW,
    'desk operator': VIEW | HALT,
    'administrator': VIEW | HALT | ADMINISTER,
}
NAMES = {'halt_trading': 'Can halt trading', 'resume_trading': 'Can resume trading'}


def make_roles(apps, schema_editor):
    """Permissions are made after all migrations usually, so those that are needed are made here; what comes later finds them."""
    ContentType = apps.get_model('contenttypes', 'ContentType')
    Permission = apps.get_model('auth', 'Permission')
    Group = apps.get_model('auth', 'Group')
    for role, permissions in ROLES.items():
        group, _ = Group.objects.get_or_create(name=role)
        for codename, model in permissions.items():
            content_type, _ = ContentType.objects.get_or_create(app_label='orders', model=model)
            name = NAMES.get(codename, f"Can {codename.split('_')[0]} {apps.get_model('orders', model)._meta.verbose_name}")
            permission, _ = Permission.objects.get_or_create(
                content_type=content_type, codename=codename, defaults={'name': name}
            )
            group.permissions.add(permission)


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0005_safety'),
        ('orders', '0006_order_desk'),
    ]

    operations = [migrations.RunPython(make_roles, migrations.RunPython.noop)]
