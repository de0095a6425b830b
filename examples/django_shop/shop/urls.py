"""Where the views are."""

from __future__ import annotations

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.enter),
    path("questions", views.ask),
    path("orders", views.order),
    path("runs/<str:run_id>", views.look, name="run"),
    path("runs/<str:run_id>/events", views.events),
]
