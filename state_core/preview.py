"""What restoring a checkpoint would do, before it is done. Computed from headers: no content is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from state_core.fold import open_questions
from state_core.records import Checkpoint, Document, StepStatus
from state_core.words import counted, duration

WORTH_TELLING = 1.0
"""Seconds: what takes less to be done again is not spoken of."""
NAMED = 5
"""Steps or branches that a sentence names; more are counted."""


@dataclass(frozen=True)
class PreviewedStep:
    step_id: str
    branch_id: str
    agent: str
    duration: float | None = None
    """Seconds that it took; None where it has not ended."""

    def __str__(self) -> str:
        return f"{self.agent} ({self.step_id})" if self.agent else self.step_id


@dataclass(frozen=True)
class RestorePreview:
    """The difference between the present and a checkpoint, as somebody who decides needs it."""

    session_id: str
    seq: int
    """The present."""
    to: int
    """The event whose state comes back."""
    name: str
    """The checkpoint's."""
    steps: tuple[PreviewedStep, ...]
    """Set aside: they are no longer among the session's steps."""
    branches: tuple[str, ...]
    """Names of those that are set aside."""
    messages: int
    """How many more (or, below 0, less) there are now than there were."""
    steps_back: tuple[PreviewedStep, ...]
    """Steps of the checkpoint that are not there now: it was left by an earlier restore."""
    branches_back: tuple[str, ...]
    again: tuple[PreviewedStep, ...]
    """Executed again when the session is resumed, as far as it takes the same way: those that are set
    aside, and those that were under way or had failed at the checkpoint."""
    questions_back: tuple[str, ...]
    """Who asks what is open again, a name for each question."""
    questions_gone: tuple[str, ...]
    """Who asks what is open now and no longer then."""

    @property
    def again_seconds(self) -> float:
        """How long what is executed again took when it was executed."""
        return sum(step.duration or 0.0 for step in self.again)

    def sentences(self) -> list[str]:
        """The same in words, for dialogs and terminals."""
        lines = [self._set_aside(), *self._back()]
        if self.again:
            lines.append(f"Executed again when it is resumed: {_told(self.again)}.{self._took()}")
        if self.questions_back:
            asked = counted(len(self.questions_back), "question")
            lines.append(f"Open again: {asked}, of {named(self.questions_back)}.")
        if self.questions_gone:
            asked = counted(len(self.questions_gone), "question")
            lines.append(f"No longer open: {asked}, of {named(self.questions_gone)}.")
        return lines

    def _took(self) -> str:
        seconds = self.again_seconds
        return f" They took {duration(seconds)}." if seconds >= WORTH_TELLING else ""

    def _set_aside(self) -> str:
        events = counted(self.seq - self.to, "event")
        parts = [
            *_counted_steps(self.steps),
            *([counted(self.messages, "message")] if self.messages > 0 else []),
            *_counted_and_named(self.branches, "branch"),
        ]
        if not parts:
            return f"Set aside: {events} since the checkpoint; no step, message or branch among them."
        return f"Set aside: {'; '.join(parts)} ({events} since the checkpoint)."

    def _back(self) -> Iterator[str]:
        parts = [
            *_counted_steps(self.steps_back),
            *([counted(-self.messages, "message")] if self.messages < 0 else []),
            *_counted_and_named(self.branches_back, "branch"),
        ]
        if parts:
            yield f"Comes back: {'; '.join(parts)}."


def preview_of(present: Document, target: Document, checkpoint: Checkpoint, messages: int) -> RestorePreview:
    """``present`` and ``target``: states as headers tell them. ``messages``: how many there are now."""
    now, then = dict(_steps(present)), dict(_steps(target))
    aside = tuple(step for key, step in now.items() if key not in then)
    unfinished = tuple(
        now.get(key, step) for key, step in then.items() if _status(target, key) != StepStatus.COMPLETED
    )
    asked_now, asked_then = _asked(present), _asked(target)
    return RestorePreview(
        session_id=checkpoint.session_id,
        seq=present["seq"],
        to=checkpoint.seq,
        name=checkpoint.name,
        steps=aside,
        branches=_names(present, target),
        messages=messages - checkpoint.counts.get("messages", 0),
        steps_back=tuple(step for key, step in then.items() if key not in now),
        branches_back=_names(target, present),
        again=(*unfinished, *aside),
        questions_back=tuple(who for i, who in asked_then.items() if i not in asked_now),
        questions_gone=tuple(who for i, who in asked_now.items() if i not in asked_then),
    )


StepKey = tuple[str, str]


def _steps(document: Document) -> Iterator[tuple[StepKey, PreviewedStep]]:
    for branch_id, branch in document["branches"].items():
        for step_id, step in branch["steps"].items():
            yield (
                (branch_id, step_id),
                PreviewedStep(step_id, branch_id, step["agent"] or "", step["duration"]),
            )


def _status(document: Document, key: StepKey) -> str:
    return str(document["branches"][key[0]]["steps"][key[1]]["status"])


def _names(there: Document, absent: Document) -> tuple[str, ...]:
    return tuple(branch["name"] for i, branch in there["branches"].items() if i not in absent["branches"])


def _asked(document: Document) -> Mapping[str, str]:
    return {q["question_id"]: q["agent"] or q["branch_id"] for q in open_questions(document)}


def _counted_and_named(things: Sequence[object], noun: str) -> list[str]:
    return [f"{counted(len(things), noun)}: {named(map(str, things))}"] if things else []


def _counted_steps(steps: Sequence[PreviewedStep]) -> list[str]:
    return [f"{counted(len(steps), 'step')}: {_told(steps)}"] if steps else []


def _told(steps: Sequence[PreviewedStep]) -> str:
    """Each of a few; of many, how many each agent has."""
    if len(steps) <= NAMED:
        return named(map(str, steps))
    agents = Counter(step.agent or "no agent" for step in steps)
    return named(f"{number} of {agent}" for agent, number in agents.most_common())


def named(names: Iterable[str]) -> str:
    """``a, b, c and 4 more``."""
    listed = list(names)
    more = len(listed) - NAMED
    return ", ".join(listed[:NAMED]) + (f" and {more} more" if more > 0 else "")
