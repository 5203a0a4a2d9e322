from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='RequestCount',
            fields=[
                ('rate', models.CharField(max_length=20)),
                ('who', models.CharField(max_length=64)),
                ('ends_at', models.BigIntegerField()),
                ('count', models.BigIntegerField()),
                ('pk', models.CompositePrimaryKey('rate', 'who', blank=True, editable=False, primary_key=True, serialize=False)),
            ],
            options={
                'default_permissions': (),
                'indexes': [models.Index(fields=['ends_at'], name='request_counts_to_remove')],
            },
        ),
        # Counts of the last minute are not worth the write-ahead log, or replication to a standby.
        migrations.RunSQL('ALTER TABLE infrastructure_requestcount SET UNLOGGED', migrations.RunSQL.noop),
    ]
