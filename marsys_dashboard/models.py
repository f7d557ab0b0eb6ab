"""What the dashboard itself keeps, in Django's database: jobs, proposals, tokens, links. Not sessions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

SILENCE = timedelta(seconds=10)
"""After so long without a sign of life, the process that ran a job is taken to be gone."""
LINK_OF = "link of "
"""What the actor of an answer that came by a link begins with; no user's name has a space."""


class JobStatus(models.TextChoices):
    GATHERING = "gathering", "Gathering"
    RUNNING = "running", "Running"
    STOPPING = "stopping", "Stopping"
    STOPPED = "stopped", "Stopped"
    REFUSED = "refused", "Refused"
    COMPLETED = "completed", "Completed"


AT_WORK = (JobStatus.GATHERING, JobStatus.RUNNING, JobStatus.STOPPING)


class Outcome(models.TextChoices):
    LEFT = "left", "Left"
    DONE = "done", "Done"
    SKIPPED = "skipped", "Skipped"
    FAILED = "failed", "Failed"


class Job(models.Model):
    """An act on many sessions: whose, why, on which, and how far it is."""

    verb = models.TextField()
    actor = models.TextField()
    """The user's name, as it stands in the sessions' logs."""
    reason = models.TextField(default="")
    given = models.JSONField(default=dict)
    """What else the person gave: the checkpoint's name, additional context, limits."""
    query = models.TextField(default="")
    """The list's address where it was "all that match", without the ``?``; "" where rows were selected."""
    confirmed = models.IntegerField(default=0)
    """How many sessions the person was told."""
    status = models.TextField(choices=JobStatus, default=JobStatus.GATHERING)
    note = models.TextField(default="")
    """Why it was refused, or did not get on."""
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    runner = models.TextField(default="")
    """The process that works on it, with a number of its own for each attempt."""
    beat_at = models.DateTimeField(default=timezone.now)
    """Its last sign of life."""

    class Meta:
        indexes = [models.Index(fields=["-created_at"], name="marsys_job_created")]
        default_permissions = ()

    def __str__(self) -> str:
        return f"Job {self.pk}: {self.verb}"

    @property
    def is_silent(self) -> bool:
        """Is the process that ran it gone?"""
        return self.status in AT_WORK and timezone.now() - self.beat_at > SILENCE

    @property
    def is_at_work(self) -> bool:
        return self.status in AT_WORK and not self.is_silent

    @property
    def can_go_on(self) -> bool:
        return self.is_silent or self.status == JobStatus.STOPPED

    @property
    def label(self) -> str:
        return "Interrupted" if self.is_silent else JobStatus(self.status).label

    def counts(self) -> dict[str, int]:
        found = dict(self.items.values_list("outcome").annotate(n=models.Count("pk")))
        return {outcome: found.get(outcome, 0) for outcome in Outcome.values}


class JobItem(models.Model):
    """One session of a job."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items")
    store = models.TextField()
    session_id = models.TextField()
    data = models.JSONField(default=dict)
    """Of a clean-up: what was planned."""
    begun = models.BooleanField(default=False)
    """It was being worked on: a process that ended in between may have done it."""
    outcome = models.TextField(choices=Outcome, default=Outcome.LEFT)
    told = models.TextField(default="")
    """What was done, or why not."""
    at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["job", "outcome", "id"], name="marsys_job_outcome")]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.store}/{self.session_id}"

    def end(self, outcome: Outcome, told: Any) -> None:
        self.outcome, self.told, self.at = outcome, str(told)[:1000], timezone.now()


class SavedView(models.Model):
    """A filter and sorting of the list under a name."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=80)
    query = models.TextField(default="")
    """The list's address without the ``?`` and without a page."""
    shared = models.BooleanField(default=False)
    """Do others see it too?"""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="marsys_view_name")]
        ordering = ["name"]
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.name)


class DefaultView(models.Model):
    """The view that a person's first page is."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    view = models.ForeignKey(SavedView, on_delete=models.CASCADE, related_name="+")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user}: {self.view}"


class ActivityEntry(models.Model):
    """Who did what to a session. Derived from logs, so that it can be gathered anew; only deletions and
    reviews stand in here alone, since no log tells of them."""

    store = models.TextField()
    session_id = models.TextField()
    born = models.DateTimeField(null=True)
    """When its session was created: an id may be used again after a deletion."""
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    actor = models.TextField(default="")
    is_person = models.BooleanField(default=False)
    verb = models.TextField()
    kind = models.TextField()
    reason = models.TextField(default="")
    before = models.TextField(default="")
    after = models.TextField(default="")
    detail = models.TextField(default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["store", "session_id", "born", "seq"],
                condition=~models.Q(verb="review"),
                name="marsys_activity_uq",
            )
        ]
        indexes = [
            models.Index(fields=["-at", "-id"], name="marsys_activity_at"),
            models.Index(fields=["actor", "-at", "-id"], name="marsys_activity_actor"),
            models.Index(fields=["verb", "-at", "-id"], name="marsys_activity_verb"),
        ]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor} {self.kind} {self.session_id}"


class Decision(models.TextChoices):
    WAITING = "waiting", "Waiting"
    APPROVING = "approving", "Being approved"
    APPROVED = "approved", "Approved"
    DECLINED = "declined", "Declined"
    WITHDRAWN = "withdrawn", "Withdrawn"
    REPLACED = "replaced", "Replaced"
    GONE = "gone", "Session deleted"


UNDECIDED = (Decision.WAITING, Decision.APPROVING)


class Proposal(models.Model):
    """A change of a session's context that a second person is to approve; then the session is resumed."""

    store = models.TextField()
    session_id = models.TextField()
    born = models.DateTimeField(null=True)
    """When its session was created: an id may be used again after a deletion."""
    seq = models.BigIntegerField()
    """The session's last event when it was made."""
    change = models.BinaryField()
    """What is set and removed, under the store's key where that encrypts. Empty once it is decided."""
    encoding = models.TextField()
    reason = models.TextField()
    proposer = models.TextField()
    """The user's name, as it stands in the sessions' logs."""
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    decision = models.TextField(choices=Decision, default=Decision.WAITING)
    decided_by = models.TextField(default="")
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.TextField(default="")

    class Meta:
        indexes = [
            models.Index(
                fields=["created_at", "id"],
                condition=models.Q(decision__in=["waiting", "approving"]),
                name="marsys_proposal_open",
            )
        ]
        default_permissions = ()

    def __str__(self) -> str:
        return f"Change {self.pk} of {self.store}/{self.session_id}"


class ActivityPlace(models.Model):
    """How far a session's log has been read for activity."""

    store = models.TextField()
    session_id = models.TextField()
    born = models.DateTimeField(null=True)
    seq = models.BigIntegerField(default=0)
    status = models.TextField(default="")
    """The session's status there."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["store", "session_id"], name="marsys_place_uq")]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.store}/{self.session_id}@{self.seq}"


class ActivityMark(models.Model):
    """Which sessions of a store have been read: all that changed up to ``upto`` and since ``back``."""

    store = models.TextField(primary_key=True)
    upto = models.DateTimeField()
    back = models.JSONField(null=True)
    """Where the way back to the oldest goes on: (updated_at, session id)."""
    complete = models.BooleanField(default=False)
    """Has the oldest been reached?"""

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.store} up to {self.upto}"


class Present(models.Model):
    """Somebody who has a session's page open in some process. Rows of a process that is gone run out."""

    process = models.TextField()
    store = models.TextField()
    session_id = models.TextField()
    name = models.TextField()
    """The user's."""
    until = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["session_id", "store", "name", "process"], name="marsys_present_uq"
            )
        ]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name} at {self.store}/{self.session_id}"


class AccessToken(models.Model):
    """What a program signs in with, in the name of who made it. The token itself is kept nowhere."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True)
    """SHA-256 of the token, which is too long to be guessed."""
    may_act = models.BooleanField(default=False)
    """Or only read?"""
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    """To the minute."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="marsys_token_name")]
        ordering = ["name"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user}: {self.name}"

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


class AnswerLink(models.Model):
    """A link with which one question can be answered once, without signing in. Its address holds ``key``,
    signed."""

    key = models.TextField(unique=True)
    store = models.TextField()
    session_id = models.TextField()
    question_id = models.TextField()
    asked_at = models.DateTimeField(null=True)
    """When the question was asked: after a restore another may have its id."""
    shared_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    to = models.TextField(default="")
    """Whom it is for."""
    shared_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField()
    answered_at = models.DateTimeField(null=True)
    """When it was used."""
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["store", "session_id", "question_id"], name="marsys_answer_link_question")
        ]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.store}/{self.session_id}/{self.question_id} for {self.to or 'somebody'}"

    @property
    def ends_at(self) -> datetime:
        """A lower ANSWER_LINK_AGE shortens links that were given out before."""
        return min(self.until, self.shared_at + timedelta(seconds=settings.ANSWER_LINK_AGE))

    @property
    def actor(self) -> str:
        """Who answers with it, as it stands in the session's log."""
        return f"{LINK_OF}{self.shared_by.get_username()}" + (f" for {self.to}" if self.to else "")
