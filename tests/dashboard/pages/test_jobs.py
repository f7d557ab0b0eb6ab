"""Acts on many sessions, as jobs of the server."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client
from django.utils import timezone

from marsys_dashboard import job_runner, managers
from marsys_dashboard.models import SILENCE, Job, JobItem, JobStatus, Outcome
from state_core.changes import set_value
from state_core.events import Event, EventKind
from state_core.exceptions import StorageUnavailable
from state_core.manager import StateManager
from state_core.storage.memory import MemoryStorageBackend
from tests.dashboard.pages.conftest import MEMORY, person

JSON = {"accept": "application/json"}
pytestmark = pytest.mark.django_db(transaction=True)


async def make(manager: StateManager, *session_ids: str) -> None:
    for session_id in session_ids:
        await manager.create_session(session_id)


async def post(client: AsyncClient, verb: str, *targets: str, **given: Any):
    data = {"verb": verb, "target": list(targets), **given}
    return await client.post("/jobs/new/", data, headers=JSON)


async def ended(response) -> Job:
    """The job that the answer names, when it has ended."""
    told = response.json()
    assert told["ok"], told
    for task in list(job_runner._tasks):
        await task
    return await Job.objects.aget(pk=int(told["location"].split("/")[2]))


async def results(job: Job) -> dict[str, tuple[str, str]]:
    return {str(item): (item.outcome, item.told) async for item in job.items.all()}


@pytest.fixture
def two(use_stores) -> tuple[StateManager, StateManager]:
    use_stores(default=MEMORY, other=MEMORY)
    return managers.manager("default"), managers.manager("other")


async def test_selected_sessions_of_two_stores_are_paused_with_actor_and_reason(two, live_ana):
    default, other = two
    await make(default, "a")
    await make(other, "b", "c")
    await other.cancel_execution("c")
    targets = ("default/a", "other/b", "other/c", "other/gone")
    job = await ended(await post(live_ana, "pause", *targets, confirmed="4", reason="night"))
    assert job.status == JobStatus.COMPLETED
    told = await results(job)
    assert told["default/a"] == ("done", "The session is paused.")
    assert told["other/b"][0] == "done"
    assert told["other/c"][0] == "skipped"
    assert "It is cancelled" in told["other/c"][1]
    assert told["other/gone"][0] == "skipped"
    events = await other.log.read("b", kinds=["session.paused"])
    assert [(event.actor, event.data["reason"]) for event in events] == [("ana", "night")]


async def test_the_dialog_says_how_many_it_would_do_and_why_others_are_skipped(manager, live_ana):
    await make(manager, "a", "b")
    await manager.pause_execution("b")
    data = {"verb": "pause", "target": ["default/a", "default/b"]}
    text = (await live_ana.post("/jobs/new/", data)).content.decode()
    assert "Pause sessions (1)" in text
    assert "skipped: It is paused" in text
    assert not await Job.objects.aexists()


async def test_all_that_match_a_filter_are_acted_on_beyond_the_page(manager, live_ana):
    await make(manager, *(f"s-{n:03d}" for n in range(130)), "other")
    data = {"all": "1", "query": "q=s-", "confirmed": "130", "reason": "tidy"}
    job = await ended(await post(live_ana, "cancel", **data))
    assert await sync_to_async(job.counts)() == {"left": 0, "done": 130, "skipped": 0, "failed": 0}
    assert (await manager.get_head("other")).status == "pending"


async def test_a_destructive_job_is_refused_when_more_match_than_was_confirmed(manager, live_ana):
    await make(manager, "a", "b", "c")
    data = {"all": "1", "query": "", "confirmed": "2", "confirm": "2", "reason": "tidy"}
    job = await ended(await post(live_ana, "delete", **data))
    assert job.status == JobStatus.REFUSED
    assert "Nothing was done" in job.note
    assert len(await manager.list_sessions()) == 3


async def test_deleting_wants_the_number_typed_and_a_reason(manager, live_ana):
    await make(manager, "a", "b")
    targets = ("default/a", "default/b")
    for given, told in (
        ({"confirm": "2"}, "Reason"),
        ({"confirm": "3", "reason": "x"}, "Type 2 to confirm"),
        ({"reason": "x"}, "Number of sessions"),
    ):
        response = await post(live_ana, "delete", *targets, confirmed="2", **given)
        assert response.status_code == 400
        assert told in response.json()["error"]
    job = await ended(await post(live_ana, "delete", *targets, confirmed="2", confirm="2", reason="x"))
    assert {outcome for outcome, _ in (await results(job)).values()} == {"done"}
    assert not await manager.list_sessions()


async def test_checkpoints_and_resumes_carry_what_was_given(manager, live_ana):
    await make(manager, "a", "b")
    await manager.pause_execution("a")
    both = ("default/a", "default/b")
    await ended(await post(live_ana, "checkpoint", *both, confirmed="2", name="before"))
    assert [c.name for c in await manager.list_checkpoints("b")] == ["before"]
    job = await ended(await post(live_ana, "resume", *both, confirmed="2", context='{"n": 1}'))
    assert (await manager.get_session_state("a")).context == {"n": 1}
    assert (await results(job))["default/b"][0] == "skipped"


@pytest.mark.parametrize(("verb", "status"), [("pause", 200), ("delete", 403)])
async def test_each_act_wants_its_permission(manager, transactional_db, verb, status):
    await make(manager, "a")
    bo = AsyncClient()
    await bo.aforce_login(await sync_to_async(person)("bo"))
    assert (await bo.post("/jobs/new/", {"verb": verb, "target": "default/a"})).status_code == status


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"verb": "pause"}, "No session is selected"),
        ({"verb": "pause", "target": "nowhere/a"}, "There is no store"),
        ({"verb": "pause", "target": "default/../x"}, "id"),
        ({"verb": "pause", "target": [f"default/{n}" for n in range(501)]}, "too many"),
        ({"verb": "explode", "target": "default/a"}, "explode"),
    ],
)
async def test_what_cannot_be_chosen_is_refused_clearly(manager, live_ana, data, told):
    response = await live_ana.post("/jobs/new/", data)
    assert response.status_code in {400, 404}
    assert response.status_code == 404 or told in response.content.decode()


class Away(MemoryStorageBackend):
    """A store that a test can take away."""

    away = False

    async def head(self, session_id):
        if Away.away:
            raise StorageUnavailable("The store is away.")
        return await super().head(session_id)


async def started(*targets: str, **given: Any) -> tuple[Job, str]:
    """A job that no process has begun with."""
    runner = job_runner.new_runner()
    job = await Job.objects.acreate(
        verb="pause", actor="ana", runner=runner, status=JobStatus.RUNNING, **given
    )
    await JobItem.objects.abulk_create([JobItem(job=job, store="default", session_id=t) for t in targets])
    return job, runner


async def test_a_job_stops_where_its_store_is_away_and_goes_on_from_there(use_stores, live_ana, monkeypatch):
    use_stores(default={"BACKEND": f"{__name__}.Away"})
    await make(managers.manager("default"), "a", "b")
    job, runner = await started("a", "b")
    monkeypatch.setattr(Away, "away", True)
    monkeypatch.setattr("marsys_dashboard.job_acts._patience", no_patience)
    await job_runner._run_safely(job.pk, runner)
    await job.arefresh_from_db()
    assert (job.status, job.note) == (JobStatus.STOPPED, "The store is away.")
    assert {outcome for outcome, _ in (await results(job)).values()} == {"left"}
    monkeypatch.setattr(Away, "away", False)
    await ended(await live_ana.post(f"/jobs/{job.pk}/continue/", headers=JSON))
    assert {outcome for outcome, _ in (await results(job)).values()} == {"done"}


def no_patience():
    from tenacity import AsyncRetrying, stop_after_attempt

    return AsyncRetrying(stop=stop_after_attempt(1), reraise=True)


async def test_a_job_whose_process_is_gone_says_so_and_is_continued_without_doing_things_twice(
    manager, live_ana
):
    await make(manager, "a", "b")
    await manager.pause_execution("a", actor="ana")
    job, _ = await started("a", "b")
    await job.items.filter(session_id="a").aupdate(begun=True)
    await Job.objects.filter(pk=job.pk).aupdate(beat_at=timezone.now() - SILENCE - timedelta(seconds=1))
    page = (await live_ana.get(f"/jobs/{job.pk}/")).content.decode()
    assert "has not been heard of" in page
    assert "Continue" in page
    await ended(await live_ana.post(f"/jobs/{job.pk}/continue/", headers=JSON))
    told = await results(job)
    assert told["default/a"] == ("done", "It was done when the process that ran this job ended.")
    assert told["default/b"][0] == "done"
    assert len(await manager.log.read("a", kinds=["session.paused"])) == 1


async def test_a_job_that_is_at_work_is_not_continued_beside_itself(manager, live_ana):
    job, _ = await started("a")
    response = await live_ana.post(f"/jobs/{job.pk}/continue/", headers=JSON)
    assert response.status_code == 409


async def test_of_two_who_continue_a_job_one_gets_it(manager, live_ana):
    job, _ = await started("a")
    await Job.objects.filter(pk=job.pk).aupdate(status=JobStatus.STOPPED)
    await job.arefresh_from_db()
    assert await job_runner.go_on(job)
    assert await job_runner.go_on(job) is None


async def test_a_job_is_stopped_between_batches_and_keeps_what_it_did(manager, live_ana, monkeypatch):
    monkeypatch.setattr(job_runner, "BATCH", 1)
    await make(manager, "a", "b", "c")
    job, runner = await started("a", "b", "c")
    work = job_runner._work

    async def work_then_stop(job, batch):
        await work(job, batch)
        await live_ana.post(f"/jobs/{job.pk}/stop/", headers=JSON)

    monkeypatch.setattr(job_runner, "_work", work_then_stop)
    await job_runner.run(job.pk, runner)
    await job.arefresh_from_db()
    assert job.status == JobStatus.STOPPED
    assert await sync_to_async(job.counts)() == {"left": 2, "done": 1, "skipped": 0, "failed": 0}


async def test_who_lost_the_permission_meanwhile_does_no_more(manager, live_ana):
    await make(manager, "a")
    job, runner = await started("a")
    await sync_to_async(lambda: person("ana").user_permissions.clear())()
    await job_runner.run(job.pk, runner)
    outcome, told = (await results(job))["default/a"]
    assert outcome == Outcome.SKIPPED
    assert "no permission" in told


async def test_a_clean_up_shows_its_plan_asks_for_the_number_and_deletes(manager, live_ana):
    await make(manager, "old", "open")
    await manager.cancel_execution("old")
    limits = {"max_mb": "0"}
    page = (await live_ana.post("/jobs/clean-up/", limits)).content.decode()
    assert "<b>1 session</b>" in page
    assert not await Job.objects.aexists()
    wrong = await live_ana.post("/jobs/clean-up/", {**limits, "confirmed": 1, "confirm": 2, "reason": "x"})
    assert "Type 1 to confirm" in wrong.content.decode()
    confirmed = {**limits, "confirmed": 1, "confirm": 1, "reason": "full"}
    job = await ended(await live_ana.post("/jobs/clean-up/", confirmed, headers=JSON))
    assert await results(job) == {"default/old": ("done", "The session is deleted.")}
    assert [head.session_id for head in await manager.list_sessions()] == ["open"]


async def test_a_clean_up_is_of_what_was_shown_whatever_ended_meanwhile(manager, live_ana):
    await make(manager, "old", "new")
    await manager.cancel_execution("old")
    page = (await live_ana.post("/jobs/clean-up/", {"max_mb": "0"})).content.decode()
    (at,) = re.findall(r'name="at" value="([^"]+)"', page)
    await manager.cancel_execution("new")
    asked = {"max_mb": "0", "at": at, "confirmed": 1, "confirm": 1, "reason": "full"}
    job = await ended(await live_ana.post("/jobs/clean-up/", asked, headers=JSON))
    assert list(await results(job)) == ["default/old"]
    assert [head.session_id for head in await manager.list_sessions()] == ["new"]


async def long_ago(manager, name):
    """A session that ended a month ago: a draft was written anew again and again."""
    at = timezone.now() - timedelta(days=30)
    drafts = [set_value(["context", "draft"], f"{number} {secrets.token_hex(500)}") for number in range(40)]
    place = {"id": f"cp-{name}", "name": "auto", "kind": "auto", "size": 1_000, "counts": {}}
    events = [
        Event(kind=EventKind.SESSION_CREATED, at=at),
        *(Event(kind=EventKind.CONTEXT_CHANGED, at=at, changes=[draft]) for draft in drafts),
        Event(kind=EventKind.CHECKPOINT_CREATED, at=at, data=place),
        Event(kind=EventKind.SESSION_COMPLETED, at=at),
    ]
    await manager.log.append(name, events)


async def test_a_clean_up_says_what_compacting_would_free_and_frees_it(manager, live_ana):
    await long_ago(manager, "long")
    await make(manager, "fresh")
    limits = {"history_age_days": "7", "checkpoint_age_days": "7"}
    page = (await live_ana.post("/jobs/clean-up/", limits)).content.decode()
    assert "would be compacted by" in page
    assert "Delete and compact them" in page
    before = (await manager.get_head("long")).counts["stored_bytes"]
    confirmed = {**limits, "confirmed": 1, "confirm": 1, "reason": "full"}
    job = await ended(await live_ana.post("/jobs/clean-up/", confirmed, headers=JSON))
    outcome, told = (await results(job))["default/long"]
    assert outcome == "done"
    assert "1 checkpoint is deleted." in told
    assert "of its history became one" in told
    head = await manager.get_head("long")
    assert head.counts["stored_bytes"] < before
    assert (await manager.get_session_state("long")).context["draft"].startswith("39 ")


async def test_a_clean_up_without_limits_is_refused(manager, live_ana):
    response = await live_ana.post("/jobs/clean-up/", {"store": ""})
    assert "at least one limit" in response.content.decode()


def test_jobs_are_listed_and_an_empty_list_says_where_they_come_from(ana: Client, manager):
    assert 'data-empty="no-jobs"' in ana.get("/jobs/").content.decode()
    job = Job.objects.create(verb="pause", actor="bo", reason="<i>", status=JobStatus.COMPLETED)
    text = ana.get("/jobs/").content.decode()
    assert f'data-job="{job.pk}"' in text
    assert "&lt;i&gt;" in text


def test_the_list_of_jobs_says_whether_to_look_again(ana: Client, manager):
    job = Job.objects.create(verb="pause", actor="bo", status=JobStatus.RUNNING)
    assert 'data-at-work="1"' in ana.get("/jobs/", headers={"X-Fragment": "job"}).content.decode()
    job.status = JobStatus.COMPLETED
    job.save()
    assert 'data-at-work=""' in ana.get("/jobs/").content.decode()


def test_a_job_that_is_not_there_says_so(ana: Client, manager):
    assert ana.get("/jobs/99/").status_code == 404


def test_who_may_only_look_may_compare_and_no_more(sign_in, manager):
    manager.sync.create_session("a")
    text = sign_in("cy").get("/sessions/").content.decode()
    assert "data-compare-two" in text
    assert 'name="verb"' not in text
    assert 'name="verb"' in sign_in("bo").get("/sessions/").content.decode()
