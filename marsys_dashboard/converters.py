"""What may stand in an address."""

from django.urls.converters import StringConverter


class SessionIdConverter(StringConverter):
    regex = r"[A-Za-z0-9_.:-]{1,128}"


class StoreConverter(StringConverter):
    regex = r"[A-Za-z0-9_-]{1,64}"
