from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0002_executions'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='orderevent',
            index=models.Index(fields=['tx'], name='order_event_by_tx'),
        ),
        migrations.AddIndex(
            model_name='orderevent',
            index=models.Index(fields=['account', 'tx'], name='order_event_by_account_tx'),
        ),
    ]
