"""A small service as real ones look: a web framework, a template engine, numbers."""

import numpy
from flask import Flask, jsonify

from greeting import GREETING

app = Flask(__name__)


@app.get("/")
def index():
    return jsonify(greeting=GREETING, mean=float(numpy.arange(10).mean()))
