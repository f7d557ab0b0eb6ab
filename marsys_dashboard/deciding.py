"""Deciding a change that waits for approval: what each decision means, and what it takes. The same for
dialogs, programs and the terminal."""

from __future__ import annotations

from typing import Any

from django import forms

from marsys_dashboard import proposals
from marsys_dashboard.acts import ALL
from marsys_dashboard.forms import LONGEST_REASON, Text
from marsys_dashboard.proposals import CannotDecide, Undecided

CONSEQUENCES = {
    "approve": (
        "The session is resumed with the changed context, in your name; the log names who proposed it, too.",
        *ALL["resume"].consequences[:2],
    ),
    "decline": ("The session stays as it is. The change itself is forgotten; that it was declined is kept.",),
    "withdraw": ("The session stays as it is. The change itself is forgotten.",),
}
DECIDE = {"approve": proposals.approve, "decline": proposals.decline, "withdraw": proposals.withdraw}


class ReasonForm(forms.Form):
    reason = Text(label="Reason", max_length=LONGEST_REASON, required=False)

    def __init__(self, verb: str, data: Any = None) -> None:
        super().__init__(data, auto_id="act-%s")
        self.fields["reason"].required = needs_reason(verb)


def needs_reason(verb: str) -> bool:
    return verb == "decline"


async def to_decide(number: int, store: str, session_id: str) -> Undecided:
    """Raises ProposalNotFound; CannotDecide, which says who did."""
    proposal = await proposals.get(number, store, session_id)
    waiting = await proposals.look(proposal)
    if waiting is None:
        raise CannotDecide(proposals.told(proposal))
    return waiting
