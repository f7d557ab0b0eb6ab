"""What can be done to a session: a look at what would follow, and having it done. The same rules, words and
records as in the dashboard's dialogs."""

from __future__ import annotations

from typing import Annotated, Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest
from ninja import Query, Router
from ninja.errors import HttpError
from pydantic import WithJsonSchema

from marsys_dashboard.acts import ALL, DO, Done, Given, becomes, permission_of, title
from marsys_dashboard.api.callers import Caller
from marsys_dashboard.api.change_schemas import SentChange
from marsys_dashboard.api.schemas import (
    LARGEST,
    OF_SESSION,
    ActDone,
    ActPreview,
    Sent,
    act_of,
    checkpoint_of,
    one_of,
    question_of,
    session_of,
)
from marsys_dashboard.forms import ActForm
from marsys_dashboard.subjects import Subject, subject_of
from state_core.words import Action

router = Router(tags=["Acts"])

OF_ACT = f"{OF_SESSION}/acts/{{slug:verb}}"

Verb = Annotated[str, WithJsonSchema({"type": "string", **one_of(ALL)})]

OFFERED = 100
"""Checkpoints that a preview lists."""
WITHOUT_SEQ = (
    "An edited context needs the number of the event that it was read at. Send it as expected_seq: the seq "
    "of the state that you edited."
)


class DoesNotFit(Exception):
    """What was sent does not fit; a sentence for each field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(f"{field}: {told}" for field, told in errors.items()))
        self.errors = errors


class AsSent(forms.Field):
    """A value of JSON, as it is."""

    def validate(self, value: Any) -> None:
        """Any is one; whether it fits is said where it is used."""


class SentForm(ActForm):
    """The dialog's form, with JSON where people type text."""

    answer = AsSent(label="answer")
    context = AsSent(label="context", required=False)
    edited = AsSent(label="edited", required=False)

    def clean_answer(self) -> Any:
        if "answer" not in self.data:
            raise ValidationError(self.fields["answer"].error_messages["required"])
        return self.cleaned_data["answer"]

    def clean_context(self) -> Any:
        return self.cleaned_data["context"]

    def clean_edited(self) -> Any:
        return self.cleaned_data["edited"]


@router.get(
    OF_ACT,
    response=ActPreview,
    operation_id="preview_act",
    summary="What an act would do, and what it needs",
    url_name="act",
    by_alias=True,
)
async def preview(
    request: HttpRequest,
    store: str,
    session_id: str,
    verb: Verb,
    checkpoint: str = "",
    seq: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
) -> dict[str, Any]:
    """Nothing is done. `checkpoint`, or `seq` for a fork: where it would go back to, or begin."""
    subject = await subject_of(store, session_id, _action(verb).verb)
    await subject.refuse_unknown(checkpoint)
    chosen = subject.checkpoint(checkpoint)
    return {
        **act_of(store, subject.head, subject.availability(request.auth.permissions)),
        "title": title(subject.action, chosen, "" if seq is None else str(seq)),
        "status": str(subject.head.status),
        "becomes": becomes(subject.action, subject.head),
        "consequences": await subject.consequences(chosen),
        "takes": _takes(verb),
        "needs": _needs(subject),
        "checkpoints": [checkpoint_of(each) for each in subject.checkpoints[:OFFERED]],
        "questions": [question_of(each) for each in subject.questions],
    }


@router.post(
    OF_ACT,
    response=ActDone,
    operation_id="act",
    summary="Have an act done",
    url_name="do-act",
)
async def act(request: HttpRequest, store: str, session_id: str, verb: Verb, sent: Sent) -> dict[str, Any]:
    """Whoever runs the session answers by its events: a pause is requested, then the status changes. 409
    where the session is in another state; its `detail` says what to do."""
    request.auth.need(permission_of(_action(verb)))
    subject = await subject_of(store, session_id, verb)
    await subject.refuse_unknown(sent.checkpoint, sent.question, sent.asked_at)
    if subject.refusal:
        raise HttpError(409, subject.refusal)
    done = await DO[verb](subject.manager, subject.head, given_of(request.auth, subject, sent))
    return {"message": done.message, "session": await _session_after(subject, done)}


def _action(verb: str) -> Action:
    if verb not in ALL:
        raise Http404(f"Nothing is called {verb!r} here. Choose from {', '.join(ALL)}.")
    return ALL[verb]


def _takes(verb: str) -> list[str]:
    """``seq`` is sent to fork from; that of an edited context is the expected one."""
    return [name for name in ActForm.FIELDS[verb] if name != "seq" or verb == "fork"]


def _needs(subject: Subject) -> list[str]:
    form = SentForm(subject.action, subject.head.session_id)
    return [name for name, field in form.fields.items() if field.required]


def given_of(caller: Caller, subject: Subject, sent: Sent | SentChange) -> Given:
    """Raises DoesNotFit."""
    verb = subject.action.verb
    values = {name: getattr(sent, name) for name in sent.model_fields_set}
    untaken = values.keys() - _takes(verb)
    if untaken:
        told = f"{verb} does not take it. It takes {', '.join(_takes(verb))}."
        raise DoesNotFit(dict.fromkeys(sorted(untaken), told))
    if values.get("edited") is not None and sent.expected_seq is None:
        raise DoesNotFit({"expected_seq": WITHOUT_SEQ})
    if verb == "resume":
        values["seq"] = sent.expected_seq
    form = SentForm(
        subject.action, subject.head.session_id, subject.checkpoints, subject.questions, data=values
    )
    if not form.is_valid():
        raise DoesNotFit({name: str(errors[0]) for name, errors in form.errors.items()})
    given = {name: value for name, value in form.cleaned_data.items() if name != "confirm"}
    return Given(actor=caller.actor, store=subject.store, **given)


async def _session_after(subject: Subject, done: Done) -> dict[str, Any] | None:
    if subject.action.verb == "delete":
        return None
    head = await subject.manager.get_head(done.session_id or subject.head.session_id)
    return session_of(subject.store, head)
