"""A Flask app with no Dockerfile: requirements.txt says that this is Python, the Procfile how it runs."""

import os
import platform

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return f"Hello from Flask on Python {platform.python_version()}\n", {"Content-Type": "text/plain"}


@app.get("/health")
def health():
    return "ok\n", {"Content-Type": "text/plain"}


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "8080")))
