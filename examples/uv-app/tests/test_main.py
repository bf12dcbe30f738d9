"""`uv run pytest` runs these."""

from main import hello


def test_hello() -> None:
    assert "FastAPI" in hello()["message"]
