"""The forms of the dialogs: what a person adds to an act, checked before it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_datetime

from marsys_dashboard.choices import in_words
from marsys_dashboard.context_edit import digest
from marsys_dashboard.jsontext import read_json, read_object
from marsys_dashboard.schemaform import chosen, fields_of, is_filled_in, read_fields
from state_core.exceptions import InvalidId
from state_core.records import Checkpoint, Question, check_id
from state_core.words import Action

LONGEST_REASON = 500


def _read_text(text: str) -> str:
    return text


READERS: Mapping[str, Callable[[str], Any]] = {"string": _read_text}
"""Type in a question's schema → how an answer is read; JSON where it is none of these."""


def read_answer(question: Question, text: str) -> Any:
    if question.choices:
        return chosen(question.choices, text)
    if question.schema is None:
        return text
    kind = question.schema.get("type")
    return READERS.get(kind if isinstance(kind, str) else "", read_json)(text)


def read_moment(text: str) -> datetime | None:
    """None where it is none: what is sent is checked by its form."""
    try:
        return parse_datetime(text)
    except ValueError:
        return None


def wants_json_answer(question: Question) -> bool:
    return not question.choices and question.schema is not None and question.schema.get("type") != "string"


def answer_fields(question: Question, sent: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What sessions/_answer.html needs: how this question is answered. ``sent``: what was typed before."""
    is_yes_no = not question.choices and (question.schema or {}).get("type") == "boolean"
    return {
        "question": question,
        "choices": in_words(question.choices or []),
        "is_yes_no": is_yes_no,
        "fields": [] if question.choices else fields_of(question.schema, sent),
        "json_answer": wants_json_answer(question) and not is_yes_no,
    }


def _refuse_broken(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValidationError("This is not in UTF-8. Write it again without what cannot be read.") from error


class Text(forms.CharField):
    """That can be stored: JSON, and a terminal, may give halves of characters."""

    default_validators = [_refuse_broken]


class ActForm(forms.Form):
    """Only the fields that the act takes."""

    checkpoint = forms.ChoiceField(label="Checkpoint")
    question = forms.ChoiceField(label="Question")
    asked_at = forms.DateTimeField(label="Asked", required=False)
    answer = forms.CharField(label="Answer", max_length=100_000, strip=False)
    name = Text(label="Name", max_length=200, initial="")
    context = forms.CharField(label="Additional context", required=False, strip=False)
    edited = forms.CharField(label="Context", required=False, strip=False)
    seq = forms.IntegerField(required=False, min_value=0)
    new_session_id = forms.CharField(label="Id of the new session", required=False, max_length=128)
    confirm = forms.CharField(label="Session id", max_length=128)
    reason = Text(label="Reason", max_length=LONGEST_REASON)
    expected_seq = forms.IntegerField(label="Expected event", required=False, min_value=0)

    FIELDS: Mapping[str, tuple[str, ...]] = {
        "pause": ("reason", "expected_seq"),
        "resume": ("context", "edited", "seq", "reason", "expected_seq"),
        "answer": ("question", "asked_at", "answer", "expected_seq"),
        "checkpoint": ("name", "reason", "expected_seq"),
        "restore": ("checkpoint", "reason", "expected_seq"),
        "undo": ("reason", "expected_seq"),
        "cancel": ("reason", "expected_seq"),
        "fork": ("checkpoint", "seq", "new_session_id", "reason", "expected_seq"),
        "delete": ("confirm", "reason", "expected_seq"),
    }

    def __init__(
        self,
        action: Action,
        session_id: str,
        checkpoints: Iterable[Checkpoint] = (),
        questions: Iterable[Question] = (),
        data: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, initial=dict(initial or {}), auto_id="act-%s")
        self.session_id = session_id
        self.checkpoints = {checkpoint.id: checkpoint for checkpoint in checkpoints}
        self.questions = {question.question_id: question for question in questions}
        self.fields = {name: self.fields[name] for name in self.FIELDS[action.verb]}
        self._prepare(action)

    def _prepare(self, action: Action) -> None:
        if "answer" in self.fields:
            self.fields["answer"].required = not is_filled_in(self.data)
        if "reason" in self.fields:
            self.fields["reason"].required = action.reason_required
        if "question" in self.fields:
            self._offer("question", [(name, name) for name in self.questions])
        if "checkpoint" in self.fields:
            places = [(place.id, place.name) for place in self.checkpoints.values()]
            fork = action.verb == "fork"
            self._offer("checkpoint", [("", "now"), *places] if fork else places)
            self.fields["checkpoint"].required = not fork

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        cast(forms.ChoiceField, self.fields[name]).choices = choices

    def clean_checkpoint(self) -> Checkpoint | None:
        return self.checkpoints.get(self.cleaned_data["checkpoint"])

    def clean_question(self) -> Question:
        return self.questions[self.cleaned_data["question"]]

    def clean_answer(self) -> Any:
        question = self.cleaned_data.get("question")
        if question and is_filled_in(self.data):
            return read_fields(question.schema or {}, self.data)
        return read_answer(question, self.cleaned_data["answer"]) if question else None

    def clean_edited(self) -> dict[str, Any] | None:
        """The whole context as it is to be; None where nobody edited it."""
        text = self.cleaned_data["edited"]
        if not text.strip() or digest(text) == self.data.get("unedited"):
            return None
        return read_object(text)

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("edited") is not None and self.cleaned_data.get("seq") is None:
            raise ValidationError("The edit does not say on which event it was made. Open the dialog again.")
        return self.cleaned_data

    def clean_context(self) -> dict[str, Any]:
        return read_object(self.cleaned_data["context"])

    def clean_new_session_id(self) -> str:
        value = self.cleaned_data["new_session_id"].strip()
        try:
            return check_id(value) if value else ""
        except InvalidId as error:
            raise ValidationError(str(error)) from error

    def clean_confirm(self) -> str:
        if self.cleaned_data["confirm"].strip() != self.session_id:
            raise ValidationError(f"Type {self.session_id} to confirm.")
        return self.session_id

    def first_error(self) -> str:
        return first_error(self)


def first_error(form: forms.Form) -> str:
    """With the name of its field, or ""."""
    for name, errors in form.errors.items():
        label = form.fields[name].label if name in form.fields else ""
        return f"{label}: {errors[0]}" if label else str(errors[0])
    return ""
