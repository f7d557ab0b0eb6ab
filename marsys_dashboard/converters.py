"""What may stand in an address. Importing this makes ``<store:…>`` and ``<session_id:…>`` known."""

from django.urls import register_converter
from django.urls.converters import StringConverter


class SessionIdConverter(StringConverter):
    regex = r"[A-Za-z0-9_.:-]{1,128}"


class StoreConverter(StringConverter):
    regex = r"[A-Za-z0-9_-]{1,64}"


register_converter(SessionIdConverter, "session_id")
register_converter(StoreConverter, "store")

OF_SESSION = "sessions/<store:store>/<session_id:session_id>"
"""Where the addresses of one session begin."""
