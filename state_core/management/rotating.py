"""What is kept elsewhere under a store's keys: whoever keeps some seals it anew when they are rotated."""

from __future__ import annotations

from django.dispatch import Signal

rotating = Signal()
"""Sent by `manage.py rotate_keys` behind the store's own, for a dry run, too, with ``store`` (its alias),
``codec``, ``session_ids`` (None: all), ``decrypt`` and the ``report``, to be added to."""
