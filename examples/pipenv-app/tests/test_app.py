from app import app


def test_the_first_page_says_hello() -> None:
    assert app.test_client().get("/").text == "hello from pipenv\n"


def test_numbers_are_added() -> None:
    assert app.test_client().get("/add/2/40").text == "42\n"
