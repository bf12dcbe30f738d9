"""A small Flask app, locked by Pipenv."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "hello from pipenv\n"


@app.get("/add/<int:a>/<int:b>")
def add(a: int, b: int) -> str:
    return f"{a + b}\n"
