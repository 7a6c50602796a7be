from django.urls import path

from . import space_views, vector_files, views

urlpatterns = [
    path("encoders/", views.EncodersView.as_view()),
    path("datasets/<int:pk>/spaces/", space_views.SpacesView.as_view()),
    path("spaces/<int:pk>/", space_views.SpaceView.as_view()),
    path("spaces/<int:pk>/failures/", space_views.FailuresView.as_view()),
    path("spaces/<int:pk>/retry/", space_views.RetryView.as_view()),
    path("datasets/<int:pk>/search/", views.SearchView.as_view()),
    path("datasets/<int:pk>/ranking/", views.RankingView.as_view()),
    path("datasets/<int:pk>/vectors/", vector_files.UploadView.as_view()),
    path("spaces/<int:pk>/vectors/", vector_files.DownloadView.as_view()),
]
