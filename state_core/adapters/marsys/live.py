"""A MARSYS run, live: what its EventBus and its telemetry say, as events of a session of ours.

Its listeners only queue. What an event means is said by the functions in `marsys.meanings`, in the
recorder's thread. Steps are agents' invocations, tools and thoughts are messages beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from state_core.adapters.marsys.meanings import MEANINGS, Course
from state_core.adapters.marsys.shelf import TAG, session_id_of, title_of
from state_core.adapters.recorder import Description, Recorder, Target
from state_core.records import BranchStatus
from state_core.redaction import Redact, bounded, redacted

ATTACHED = "_state_core_live"


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that happened in a run, as its listener took it."""

    marsys_id: str
    kind: str
    """Name of the event's class."""
    values: Mapping[str, Any]
    at: float
    """Seconds since 1970."""


@dataclass
class Run:
    """A run of an Orchestra, and what listeners need to know of it."""

    marsys_id: str = ""
    listeners: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    gate: Any = None
    """Where its steps begin, when it is watched."""


class MarsysLive(Recorder[Seen]):
    """Records runs of MARSYS.

    ``attach(orchestra)`` listens to one; `watched` does that for every Orchestra of a class, and says when
    runs begin and end. ``redact`` replaces `redaction.redacted`.
    """

    def __init__(self, target: Target, *, redact: Redact = redacted, **options: Any) -> None:
        super().__init__(target, **options)
        self._redact = redact
        self._courses: dict[str, Course] = {}

    # Listening, in the run's own loop…

    def attach(self, orchestra: Any) -> Run:
        """Listen to its bus, and to the bus that it makes anew when it resumes."""
        run: Run = getattr(orchestra, ATTACHED, None) or Run()
        setattr(orchestra, ATTACHED, run)
        self._subscribe(orchestra.event_bus, run)
        wire = getattr(orchestra, "_wire_event_bus", None)
        if wire is not None and not run.listeners.get("wired"):
            run.listeners["wired"] = wire

            def wire_and_listen(*args: Any, **kwargs: Any) -> None:
                wire(*args, **kwargs)
                self._subscribe(orchestra.event_bus, run)

            orchestra._wire_event_bus = wire_and_listen
        return run

    def _subscribe(self, bus: Any, run: Run) -> None:
        for kind in MEANINGS:
            if kind[:1].isupper():
                bus.subscribe(kind, self._listener(kind, run))

    def _listener(self, kind: str, run: Run) -> Callable[[Any], Any]:
        """The same one for each kind, so that a bus takes it once."""
        if kind not in run.listeners:

            async def listen(event: Any) -> None:
                self.tell(run.marsys_id or str(getattr(event, "session_id", "")), kind, _copied(event))

            run.listeners[kind] = listen
        return run.listeners[kind]

    def tell(self, marsys_id: str, kind: str, values: Mapping[str, Any]) -> None:
        """Queue that something happened."""
        at = values.get("timestamp")
        moment = float(at) if isinstance(at, int | float) else time.time()
        if marsys_id:
            self.put(Seen(marsys_id, kind, values, moment), marsys_id)

    # Recording, in the recorder's thread…

    async def record(self, item: Seen) -> None:
        description = Description(
            title=title_of(item.marsys_id, item.values.get("task")),
            workflow="MARSYS",
            tags=(TAG,),
            metadata=self._metadata(item),
        )
        recorded = await self.session(session_id_of(item.marsys_id), description)
        course = self._courses.setdefault(item.marsys_id, Course())
        course.touched_at = time.monotonic()
        values = self._redact(bounded(item.values))
        await MEANINGS[item.kind](recorded, course, values, item.at)
        if course.ended:
            await self._finish(item.marsys_id)

    async def record_gap(self, key: str, count: int, reason: str) -> None:
        await super().record_gap(session_id_of(key), count, reason)

    def _metadata(self, item: Seen) -> dict[str, Any] | None:
        task = item.values.get("task")
        return None if task is None else {"task": self._redact(bounded(task))}

    async def settle(self) -> None:
        """A run that nobody says the end of is over some time after its final response."""
        idle = time.monotonic() - self._linger
        for marsys_id, course in list(self._courses.items()):
            if course.has_response and not course.is_told_of_end and course.touched_at <= idle:
                await self._finish(marsys_id)

    async def _finish(self, marsys_id: str) -> None:
        course = self._courses.pop(marsys_id)
        session_id = session_id_of(marsys_id)
        recorded = self.opened(session_id)
        if recorded is None:
            return
        recorded.end_open_steps("its end was not told")
        if course.error:
            await recorded.flush()
            await recorded.session.fail(course.error)
        else:
            recorded.end_open_branches(BranchStatus.COMPLETED)
        await self.leave(session_id)


def _copied(event: Any) -> dict[str, Any]:
    """MARSYS empties some lists after its listeners have run."""
    return {
        name: list(value) if isinstance(value, list) else value
        for name, value in vars(event).items()
        if name != "event_id"
    }
