from django.urls import path

from . import views

urlpatterns = [
    path("encoders/", views.EncodersView.as_view()),
    path("datasets/<int:pk>/search/", views.SearchView.as_view()),
    path("datasets/<int:pk>/ranking/", views.RankingView.as_view()),
]
