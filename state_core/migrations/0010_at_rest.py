"""Sessions are sorted by their steps and sizes in the order of an index. 100,000 of them take some seconds, in
which nobody writes: the table is made anew for each of the two columns."""

from django.db import migrations, models


def at_rest(count: str) -> models.GeneratedField:
    held = ["cancelling", "pausing", "running", "waiting"]
    return models.GeneratedField(
        expression=models.Case(models.When(status__in=held, then=None), default=count),
        output_field=models.BigIntegerField(null=True),
        db_persist=True,
    )


def index(suffix: str, order: str) -> migrations.AddIndex:
    condition = models.Q((f"{order.removeprefix('-')}__isnull", False))
    fields = [order, "session_id", "status"]
    name = f"marsys_state_{suffix}"
    return migrations.AddIndex("session", models.Index(fields=fields, name=name, condition=condition))


class Migration(migrations.Migration):

    dependencies = [
        ("state_core", "0009_counted"),
    ]

    operations = [
        migrations.AddField("session", "steps_at_rest", at_rest("steps")),
        migrations.AddField("session", "state_bytes_at_rest", at_rest("state_bytes")),
        index("steps", "-steps_at_rest"),
        index("fewest", "steps_at_rest"),
        index("bytes", "-state_bytes_at_rest"),
        index("smallest", "state_bytes_at_rest"),
    ]
