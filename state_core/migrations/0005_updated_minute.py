"""Appends change no index, as a rule: the one on updates holds the minute alone."""

from typing import Any

from django.db import migrations, models
from django.db.models.functions import TruncMinute


def fill(apps: Any, schema_editor: Any) -> None:
    sessions = apps.get_model("state_core", "Session").objects.using(schema_editor.connection.alias)
    sessions.update(updated_minute=TruncMinute("updated_at"))


def drop_second_key_index(apps: Any, schema_editor: Any) -> None:
    """Which Django made for LIKE; see `state_core.fields.KeyField`."""
    if schema_editor.connection.vendor == "postgresql":
        table = apps.get_model("state_core", "Checkpoint")._meta.db_table
        name = schema_editor._create_index_name(table, ["id"], suffix="_like")
        schema_editor.execute(f"DROP INDEX IF EXISTS {schema_editor.quote_name(name)}")


class Migration(migrations.Migration):

    dependencies = [
        ("state_core", "0004_origin"),
    ]

    operations = [
        migrations.AddField("session", "updated_minute", models.DateTimeField(null=True)),
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
        migrations.AlterField("session", "updated_minute", models.DateTimeField()),
        migrations.RemoveIndex("session", "marsys_state_updated"),
        migrations.AddIndex("session", models.Index(fields=["-updated_minute"], name="marsys_state_minute")),
        migrations.RemoveIndex("session", "marsys_state_origin"),
        migrations.AddIndex(
            "session",
            models.Index(
                fields=["origin"], name="marsys_state_origin", condition=models.Q(("origin__gt", ""))
            ),
        ),
        migrations.RunPython(drop_second_key_index, migrations.RunPython.noop),
    ]
