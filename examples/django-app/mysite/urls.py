"""Which view answers where."""

from django.urls import path
from notes.views import index, notes

urlpatterns = [path("", index), path("notes", notes)]
