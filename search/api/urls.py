from django.urls import path

from . import comparisons, counts, findings, region_layers, review, space_views, vector_files, views

urlpatterns = [
    path("encoders/", views.EncodersView.as_view()),
    path("datasets/<int:pk>/spaces/", space_views.SpacesView.as_view()),
    path("spaces/<int:pk>/", space_views.SpaceView.as_view()),
    path("spaces/<int:pk>/failures/", space_views.FailuresView.as_view()),
    path("spaces/<int:pk>/index/", space_views.IndexView.as_view()),
    path("spaces/<int:pk>/retry/", space_views.RetryView.as_view()),
    path("datasets/<int:pk>/encoder-comparisons/", comparisons.ComparisonsView.as_view()),
    path("datasets/<int:pk>/search/", views.SearchView.as_view()),
    path("datasets/<int:pk>/search/understand/", views.UnderstandView.as_view()),
    path("datasets/<int:pk>/search/why/", views.WhyView.as_view()),
    path("datasets/<int:pk>/query-images/<str:reference>/", views.QueryImageView.as_view()),
    path("datasets/<int:pk>/search/count/", counts.CountView.as_view()),
    path("datasets/<int:pk>/ranking/", views.RankingView.as_view()),
    path("datasets/<int:pk>/vectors/", vector_files.UploadView.as_view()),
    path("spaces/<int:pk>/vectors/", vector_files.DownloadView.as_view()),
    path("datasets/<int:pk>/findings/", findings.FindingsView.as_view()),
    path("datasets/<int:pk>/stats/findings/", findings.FindingStatisticsView.as_view()),
    path("findings/<int:pk>/", findings.FindingView.as_view()),
    path("findings/<int:pk>/evidence/", review.EvidenceView.as_view()),
    path("datasets/<int:pk>/review/", review.ReviewView.as_view()),
    path("datasets/<int:pk>/review/claim/", review.ClaimView.as_view()),
    path("datasets/<int:pk>/review/release/", review.ReleaseView.as_view()),
    path("datasets/<int:pk>/review/decide/", review.DecideAllView.as_view()),
    path("detectors/", region_layers.DetectorsView.as_view()),
    path("datasets/<int:pk>/region-layers/", region_layers.RegionLayersView.as_view()),
    path("datasets/<int:pk>/region-layers/estimate/", region_layers.RegionLayerCostView.as_view()),
    path("region-layers/<int:pk>/", region_layers.RegionLayerView.as_view()),
    path("region-layers/<int:pk>/failures/", region_layers.RegionLayerFailuresView.as_view()),
]
