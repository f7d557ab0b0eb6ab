"""The door: pages through Django, sockets through Channels."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marsys_dashboard.settings")
pages = get_asgi_application()

from marsys_dashboard.consumers import websocket_urlpatterns  # noqa: E402 - needs Django set up
from marsys_dashboard.request_threads import KeptThreads  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": KeptThreads(pages),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
