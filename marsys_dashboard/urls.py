"""Every address of the dashboard."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from marsys_dashboard import actions, saved_views, signin, views
from marsys_dashboard.activity_views import urlpatterns as activity_pages
from marsys_dashboard.alive import urlpatterns as alive
from marsys_dashboard.api.reference import urlpatterns as api_reference
from marsys_dashboard.api.site import urlpatterns as api
from marsys_dashboard.assets import urlpatterns as files
from marsys_dashboard.clean_up_views import urlpatterns as clean_up_pages
from marsys_dashboard.compare import urlpatterns as compare_pages
from marsys_dashboard.converters import OF_SESSION
from marsys_dashboard.finder import urlpatterns as finder_pages
from marsys_dashboard.job_views import urlpatterns as job_pages
from marsys_dashboard.link_views import urlpatterns as link_pages
from marsys_dashboard.needs_views import urlpatterns as needs_pages
from marsys_dashboard.overview_views import urlpatterns as overview_pages
from marsys_dashboard.proposal_views import urlpatterns as proposal_pages
from marsys_dashboard.session_views import urlpatterns as session_pages
from marsys_dashboard.token_views import urlpatterns as token_pages
from marsys_dashboard.travel import urlpatterns as travel_pages

urlpatterns = [
    path("", saved_views.home, name="home"),
    *saved_views.urlpatterns,
    path("sessions/", views.sessions, name="sessions"),
    *finder_pages,
    *needs_pages,
    *overview_pages,
    *activity_pages,
    *clean_up_pages,
    *job_pages,
    *session_pages,
    *compare_pages,
    *travel_pages,
    *token_pages,
    *api_reference,
    path("api/v1/", include((api, "api"))),
    *link_pages,
    *proposal_pages,
    path(f"{OF_SESSION}/acts/", actions.toolbar, name="acts"),
    path(f"{OF_SESSION}/<slug:verb>/", actions.act, name="act"),
    path("sign-in/<str:token>/", signin.sign_in, name="sign-in"),
    path(
        "accounts/login/",
        LoginView.as_view(redirect_authenticated_user=True),
        name="login",
    ),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("favicon.ico", views.favicon, name="favicon"),
    *alive,
    *files,
    path("admin/", admin.site.urls),
]

handler400 = "marsys_dashboard.failures.bad_request"
handler403 = "marsys_dashboard.failures.forbidden"
handler404 = "marsys_dashboard.failures.not_found"
handler500 = "marsys_dashboard.failures.server_error"
