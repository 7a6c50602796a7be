from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from datasets.api import problems

from . import frontend, health

api: list[URLPattern | URLResolver] = [
    path("", include("datasets.api.urls")),
    path("", include("search.api.urls")),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    # Its script comes from an address of its own: the page needs no exception from the content security policy.
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
]

urlpatterns = [
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("api/v1/", include(api)),
    re_path(r"^api/", problems.not_found),
    path("admin/", admin.site.urls),
    path("login/<str:token>/", frontend.sign_in_by_link),
    # The annotators' page reads the rest of the address itself.
    re_path(r"^(?:login/?|datasets(?:/.*)?)?$", frontend.page),
]

handler404 = "curation.frontend.not_found"
handler500 = "curation.frontend.failed"
