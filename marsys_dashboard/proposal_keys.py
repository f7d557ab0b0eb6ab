"""Changes that wait for approval are under the keys of their session's store, and are sealed anew with it."""

from __future__ import annotations

from collections.abc import Sequence

from django.dispatch import receiver

from marsys_dashboard.models import UNDECIDED, Proposal
from state_core.codec import Codec, key_of
from state_core.exceptions import DamagedError, EncryptionKeyError
from state_core.management.rotating import rotating
from state_core.rotation import RotationReport, Unreadable, why_unreadable

WHAT = "proposed change"


@receiver(rotating)
async def _rotate(
    *,
    store: str,
    codec: Codec,
    session_ids: Sequence[str] | None,
    decrypt: bool,
    report: RotationReport,
    **sent: object,
) -> None:
    proposals = Proposal.objects.filter(store=store, decision__in=UNDECIDED)
    if session_ids is not None:
        proposals = proposals.filter(session_id__in=session_ids)
    async for proposal in proposals:
        if not codec.is_current(proposal.encoding, decrypt=decrypt):
            await _reseal(proposal, codec, decrypt, report)
        report.in_use[key_of(proposal.encoding)] += 1


async def _reseal(proposal: Proposal, codec: Codec, decrypt: bool, report: RotationReport) -> None:
    """What cannot be read is left as it is."""
    before = proposal.encoding
    try:
        change, encoding = codec.reseal_snapshot(
            proposal.session_id, proposal.seq, bytes(proposal.change), before, decrypt=decrypt
        )
    except (DamagedError, EncryptionKeyError) as error:
        why, key_id = why_unreadable(before, error)
        report.unreadable.append(Unreadable(proposal.session_id, why, key_id=key_id, what=f"{WHAT}s"))
        return
    report.beside[WHAT] += 1
    if report.dry_run:
        return
    # One that was decided meanwhile has no content any more.
    as_read = Proposal.objects.filter(pk=proposal.pk, encoding=before, decision__in=UNDECIDED)
    await as_read.aupdate(change=change, encoding=encoding)
    proposal.encoding = encoding
