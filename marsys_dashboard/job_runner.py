"""Runs jobs in the process that serves the pages: a browser that closes changes nothing.

What is done stands in Django's database, so a job is still there after a reload and after a restart. A
process that ends leaves its jobs as they are; they say so, and any process can be told to go on with them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextvars import Context
from dataclasses import replace

from django.contrib.auth import get_user_model
from django.http import QueryDict
from django.utils import timezone

from marsys_dashboard.acts import DESTRUCTIVE
from marsys_dashboard.clean_up import CLEAN_UP, limits, sessions_in
from marsys_dashboard.job_acts import perform
from marsys_dashboard.listing import read_address
from marsys_dashboard.managers import manager, store_names
from marsys_dashboard.models import AT_WORK, Job, JobItem, JobStatus, Outcome
from marsys_dashboard.permissions import permissions_of
from state_core.exceptions import StateError

logger = logging.getLogger(__name__)

BATCH = 20
"""Sessions between two looks at whether to stop; each batch is one write of results."""
TOGETHER = 4
"""Sessions of a batch that are worked on at one time."""
PAGE = 500
BEAT = 2.0
"""Seconds between two signs of life."""

_tasks: set[asyncio.Task[None]] = set()


def start(job_id: int, runner: str) -> None:
    """Needs a running loop. It goes on after the request that started it."""
    # In a context of its own: the request's thread for the database ends with the request.
    task = asyncio.get_running_loop().create_task(
        _run_safely(job_id, runner), name=f"job {job_id}", context=Context()
    )
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def new_runner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


async def go_on(job: Job) -> str | None:
    """Take over a job that was stopped or whose process is gone; None where somebody was faster."""
    runner = new_runner()
    here = Job.objects.filter(pk=job.pk, runner=job.runner, status=job.status)
    status = JobStatus.RUNNING if await job.items.aexists() else JobStatus.GATHERING
    taken = await here.aupdate(runner=runner, status=status, beat_at=timezone.now(), note="", ended_at=None)
    return runner if taken else None


async def stop(job: Job) -> None:
    """It ends after its present batch; at once where no process works on it."""
    if job.is_silent:
        await Job.objects.filter(pk=job.pk, runner=job.runner).aupdate(
            status=JobStatus.STOPPED, ended_at=timezone.now(), note="Its process was gone."
        )
    else:
        await Job.objects.filter(pk=job.pk, status__in=AT_WORK).aupdate(status=JobStatus.STOPPING)


async def _run_safely(job_id: int, runner: str) -> None:
    """What nobody foresaw stops the job and says so; its results stay, and it can be continued."""
    beating = asyncio.get_running_loop().create_task(_beat(job_id, runner))
    try:
        await run(job_id, runner)
    except Exception as error:
        logger.exception("Job %d stumbled.", job_id)
        told = str(error) if isinstance(error, StateError) else "The server's log says why it stopped."
        await _end(job_id, runner, JobStatus.STOPPED, told)
    finally:
        beating.cancel()


async def _beat(job_id: int, runner: str) -> None:
    """Signs of life while a batch takes long."""
    while True:
        await asyncio.sleep(BEAT)
        await Job.objects.filter(pk=job_id, runner=runner).aupdate(beat_at=timezone.now())


async def run(job_id: int, runner: str) -> None:
    """To its end, or until it is stopped or taken over."""
    job = await Job.objects.aget(pk=job_id)
    if job.status == JobStatus.GATHERING and not await _gather(job, runner):
        return
    while await _is_ours(job_id, runner):
        batch = [item async for item in job.items.filter(outcome=Outcome.LEFT).order_by("id")[:BATCH]]
        if not batch:
            await _end(job_id, runner, JobStatus.COMPLETED)
            return
        await _work(job, batch)
    await _end(job_id, runner, JobStatus.STOPPED, only=JobStatus.STOPPING)


async def _is_ours(job_id: int, runner: str) -> bool:
    """A sign of life; False once it is to stop, or somebody else has it."""
    ours = Job.objects.filter(pk=job_id, runner=runner, status=JobStatus.RUNNING)
    return bool(await ours.aupdate(beat_at=timezone.now()))


async def _end(job_id: int, runner: str, status: JobStatus, note: str = "", only: str = "") -> None:
    ours = Job.objects.filter(pk=job_id, runner=runner)
    ours = ours.filter(status=only) if only else ours
    await ours.aupdate(status=status, note=note, ended_at=timezone.now())


async def _work(job: Job, batch: Sequence[JobItem]) -> None:
    user = await get_user_model()._default_manager.filter(username=job.actor).afirst()
    permissions = await permissions_of(user) if user else frozenset()
    await JobItem.objects.filter(pk__in=[item.pk for item in batch]).aupdate(begun=True)
    doors = asyncio.Semaphore(TOGETHER)

    async def one(item: JobItem) -> None:
        async with doors:
            await perform(job, item, permissions)

    results = await asyncio.gather(*map(one, batch), return_exceptions=True)
    await JobItem.objects.abulk_update(batch, ["outcome", "told", "at"])
    for result in results:
        if isinstance(result, BaseException):
            raise result


# Which sessions


async def _gather(job: Job, runner: str) -> bool:
    """Write down which sessions it is about. False where it ends here: for a destructive act, more match
    than the person confirmed."""
    await job.items.all().adelete()
    found = 0
    async for items in _planned(job) if job.verb == CLEAN_UP else _matching(job):
        await JobItem.objects.abulk_create(items)
        found += len(items)
        await Job.objects.filter(pk=job.pk, runner=runner).aupdate(beat_at=timezone.now())
        if found > job.confirmed and job.verb in {*DESTRUCTIVE, CLEAN_UP}:
            break
    if found > job.confirmed and job.verb in {*DESTRUCTIVE, CLEAN_UP}:
        await job.items.all().adelete()
        note = f"More sessions match now than the {job.confirmed:,} that were confirmed. Nothing was done."
        await _end(job.pk, runner, JobStatus.REFUSED, note)
        return False
    gathered = Job.objects.filter(pk=job.pk, runner=runner, status=JobStatus.GATHERING)
    await gathered.aupdate(status=JobStatus.RUNNING)
    return True


async def _matching(job: Job) -> AsyncIterator[list[JobItem]]:
    asked = read_address(QueryDict(job.query))
    for store in asked.stores():
        query = replace(asked.head_query(), sort="session_id", after=None, limit=PAGE)
        while heads := await manager(store).storage.heads(query):
            yield [JobItem(job=job, store=store, session_id=head.session_id) for head in heads]
            query = replace(query, after=query.cursor(heads[-1]))


async def _planned(job: Job) -> AsyncIterator[list[JobItem]]:
    """Of a clean-up: what is old or too much, in each store that it is for."""
    chosen = job.given.get("store")
    for store in [chosen] if chosen else store_names():
        plan = await manager(store).retention.plan(limits(job.given))
        yield [
            JobItem(job=job, store=store, session_id=session_id, data=data)
            for session_id, data in sessions_in(plan).items()
        ]
