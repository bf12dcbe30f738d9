"""The pages."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from .models import Note


def index(request: HttpRequest) -> HttpResponse:
    """The first page, with the app's style sheet."""
    return render(request, "notes/index.html")


def notes(request: HttpRequest) -> JsonResponse:
    """All notes."""
    return JsonResponse([note.text for note in Note.objects.all()], safe=False)
