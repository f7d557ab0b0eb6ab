"""Files for the browser: their names with hashes, and their addresses of another version."""

from __future__ import annotations

from django.contrib.staticfiles import finders
from django.core.exceptions import SuspiciousFileOperation
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.templatetags.static import static
from django.urls import re_path
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_safe
from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedFiles(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True


@require_safe
def moved(request: HttpRequest, name: str) -> HttpResponse:
    """A page that is open while the dashboard is replaced asks for files of the version before."""
    try:
        is_known = finders.find(name) is not None
    except SuspiciousFileOperation:
        is_known = False
    address = static(name) if is_known else request.path
    if address == request.path:
        raise Http404(f"There is no file {name!r}.")
    response = HttpResponseRedirect(address)
    add_never_cache_headers(response)
    return response


urlpatterns = [re_path(r"^static/(?:[0-9a-f]{12}/)?(?P<name>.+)$", moved)]
