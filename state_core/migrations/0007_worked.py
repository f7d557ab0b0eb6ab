from django.db import migrations

import state_core.fields


class Migration(migrations.Migration):

    dependencies = [
        ("state_core", "0006_took"),
    ]

    operations = [
        migrations.AddField(
            "session", "worked", state_core.fields.NamesField(db_default="[]", default=list)
        ),
    ]
