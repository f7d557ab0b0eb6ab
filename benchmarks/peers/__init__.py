"""The peers, each in the form that its own documentation shows."""

from __future__ import annotations


class PeerMissing(Exception):
    """It is not installed and cannot be; the message says what to do."""
