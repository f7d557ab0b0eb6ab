"""What a job does to one session, and what it tells of it."""

from __future__ import annotations

from collections.abc import Collection

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential

from marsys_dashboard.acts import ALL, DO, Given, available
from marsys_dashboard.clean_up import CLEAN_UP, clean_up
from marsys_dashboard.managers import manager
from marsys_dashboard.models import Job, JobItem, Outcome
from state_core.exceptions import (
    LeaseError,
    LeaseHeld,
    NotFound,
    SessionNotFound,
    StateError,
    StorageUnavailable,
    TransitionError,
)
from state_core.manager import StateManager
from state_core.managers import why_unreadable
from state_core.records import Head, SessionStatus

BULK = ("pause", "resume", "checkpoint", "cancel", "delete")
"""What can be done to many sessions at once, besides a clean-up."""
PATIENCE = 20.0
"""Seconds for which a store that is away is asked again, and a lease waited for: a process that was killed
in the middle of an act leaves one that lasts for a while."""

FOLLOWS = {
    "pause": {SessionStatus.PAUSED, SessionStatus.PAUSING},
    "resume": {SessionStatus.RESUMING, SessionStatus.RUNNING},
    "cancel": {SessionStatus.CANCELLED, SessionStatus.CANCELLING},
}
"""Verb → the statuses by which it is seen that it was done."""
IN_BETWEEN = "It was done when the process that ran this job ended."


async def perform(job: Job, item: JobItem, permissions: Collection[str]) -> None:
    """Do it, and write the outcome into the item. A store that cannot be reached is asked again for a
    while; then StorageUnavailable is raised."""
    try:
        async for attempt in _patience():
            with attempt:
                await _perform(job, item, permissions)
    except StorageUnavailable:
        raise
    except (NotFound, LeaseError, TransitionError) as error:
        item.end(Outcome.SKIPPED, error)
    except StateError as error:
        item.end(Outcome.FAILED, error)


def _patience() -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type((StorageUnavailable, LeaseHeld)),
        stop=stop_after_delay(PATIENCE),
        wait=wait_exponential(multiplier=0.2, max=5),
        reraise=True,
    )


async def _perform(job: Job, item: JobItem, permissions: Collection[str]) -> None:
    of_store = manager(item.store)
    if job.verb == CLEAN_UP:
        await clean_up(of_store, job, item)
    elif item.begun and await _was_done(of_store, job, item):
        item.end(Outcome.DONE, IN_BETWEEN)
    else:
        await _act(of_store, job, item, permissions)


async def _act(of_store: StateManager, job: Job, item: JobItem, permissions: Collection[str]) -> None:
    head = await of_store.get_head(item.session_id)
    why_not = await _why_not(of_store, job.verb, head, permissions)
    if why_not:
        item.end(Outcome.SKIPPED, why_not)
    else:
        done = await DO[job.verb](of_store, head, given(job, item.store))
        item.end(Outcome.DONE, done.message)


async def _was_done(of_store: StateManager, job: Job, item: JobItem) -> bool:
    """A process that ended may have done it without being able to say so."""
    try:
        head = await of_store.get_head(item.session_id)
    except SessionNotFound:
        return job.verb == "delete"
    if job.verb == "checkpoint":
        places = await of_store.list_checkpoints(head.session_id)
        return any(p.name == job.given["name"] and p.created_at >= job.created_at for p in places)
    return head.status in FOLLOWS.get(job.verb, ())


async def _why_not(of_store: StateManager, verb: str, head: Head, permissions: Collection[str]) -> str:
    unreadable = "" if verb == "delete" else await why_unreadable(of_store, head.session_id)
    return available(head, permissions, unreadable)[verb].why_not


def given(job: Job, store: str) -> Given:
    return Given(
        actor=job.actor,
        store=store,
        reason=job.reason or f"{ALL[job.verb].title}: job {job.pk}",
        name=job.given.get("name", ""),
        context=job.given.get("context"),
    )
