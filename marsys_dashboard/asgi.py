"""The door: pages through Django, sockets through Channels."""

import gc
import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marsys_dashboard.settings")
pages = get_asgi_application()

from marsys_dashboard import urls  # noqa: E402, F401 - needs Django set up; all views, before somebody waits
from marsys_dashboard.consumers import websocket_urlpatterns  # noqa: E402 - needs Django set up
from marsys_dashboard.logs import hide_in_access_log  # noqa: E402
from marsys_dashboard.origins import OwnPagesOnly  # noqa: E402
from marsys_dashboard.request_threads import KeptThreads  # noqa: E402

hide_in_access_log()

application = ProtocolTypeRouter(
    {
        "http": KeptThreads(pages),
        "websocket": OwnPagesOnly(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)

# What is here now stays. Looking through all of it for garbage, each time that a long session is read, took a
# quarter of that time and let everybody wait for 0.1 s. What is read stays, too: it is looked through seldom.
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 10, 10)
