from django.test import Client


def test_the_first_page_says_hello() -> None:
    assert b"hello from django" in Client().get("/").content
