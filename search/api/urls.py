from django.urls import path

from . import region_layers, views

urlpatterns = [
    path("encoders/", views.EncodersView.as_view()),
    path("datasets/<int:pk>/search/", views.SearchView.as_view()),
    path("datasets/<int:pk>/ranking/", views.RankingView.as_view()),
    path("detectors/", region_layers.DetectorsView.as_view()),
    path("datasets/<int:pk>/region-layers/", region_layers.RegionLayersView.as_view()),
    path("datasets/<int:pk>/region-layers/estimate/", region_layers.RegionLayerCostView.as_view()),
    path("region-layers/<int:pk>/", region_layers.RegionLayerView.as_view()),
    path("region-layers/<int:pk>/failures/", region_layers.RegionLayerFailuresView.as_view()),
]
