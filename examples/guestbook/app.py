"""A guestbook: one page, one SQLite file, nothing but Python's own library.

It listens on 0.0.0.0:$PORT, keeps its entries in $DATA_DIR (a volume), greets with $GREETING,
answers /health only when the database can be written, and finishes open requests on SIGTERM.
"""

import html
import os
import signal
import sqlite3
import sys
import threading
import urllib.parse
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8080"))
DATA_DIR = os.environ.get("DATA_DIR", "/data")
GREETING = os.environ.get("GREETING", "Hello!")
DATABASE = os.path.join(DATA_DIR, "guestbook.sqlite")
BODY_LIMIT = 10_000

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guestbook</title>
<style>
  body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 2rem auto; padding: 0 1rem }}
  li {{ margin-bottom: .6rem }} input, button {{ font: inherit; padding: .3rem .6rem }}
</style>
<h1>{greeting}</h1>
<form method="post" action="/sign">
  <input name="name" placeholder="Your name" required maxlength="80">
  <input name="message" placeholder="What you have to say" required maxlength="500">
  <button>Sign</button>
</form>
<p>{count} signed so far.</p>
<ul>{entries}</ul>
</html>
"""


def connect():
    database = sqlite3.connect(DATABASE, timeout=5)
    # Two replicas overlap while a new release takes over: readers must not block the writer.
    database.execute("PRAGMA journal_mode=WAL")
    return database


def create():
    with closing(connect()) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS entry"
            " (id INTEGER PRIMARY KEY, name TEXT NOT NULL, message TEXT NOT NULL,"
            " at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )


class Open:
    """Counts the requests being answered, so that the end can wait for them."""

    def __init__(self):
        self.count = 0
        self.changed = threading.Condition()

    def __enter__(self):
        with self.changed:
            self.count += 1

    def __exit__(self, *_):
        with self.changed:
            self.count -= 1
            self.changed.notify_all()

    def wait_for_none(self, seconds):
        with self.changed:
            self.changed.wait_for(lambda: self.count == 0, seconds)


OPEN = Open()


class Guestbook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "guestbook"

    def do_GET(self):
        with OPEN:
            self.get()

    do_HEAD = do_GET

    def do_POST(self):
        with OPEN:
            self.sign()

    def get(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/health":
            self.health()
        elif path == "/":
            self.page()
        else:
            self.answer(404, "text/plain", "There is nothing here.\n")

    def sign(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/sign" or not 0 < length <= BODY_LIMIT:
            self.close_connection = True
            self.answer(400, "text/plain", "Sign with a name and a message.\n")
            return
        form = urllib.parse.parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        name = form.get("name", [""])[0].strip()[:80]
        message = form.get("message", [""])[0].strip()[:500]
        if not name or not message:
            self.answer(400, "text/plain", "Sign with a name and a message.\n")
            return
        with closing(connect()) as database, database:
            database.execute("INSERT INTO entry (name, message) VALUES (?, ?)", (name, message))
        print(f"signed by {name!r}")
        self.answer(303, "text/plain", "Thank you.\n", {"Location": "/"})

    def health(self):
        try:
            with closing(connect()) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
        except sqlite3.Error as error:
            self.answer(503, "text/plain", f"the database cannot be written: {error}\n")
        else:
            self.answer(200, "text/plain", "ok\n")

    def page(self):
        with closing(connect()) as database:
            count = database.execute("SELECT count(*) FROM entry").fetchone()[0]
            rows = database.execute("SELECT name, message FROM entry ORDER BY id DESC LIMIT 100").fetchall()
        entries = "".join(f"<li><b>{html.escape(n)}</b>: {html.escape(m)}</li>" for n, m in rows)
        text = PAGE.format(greeting=html.escape(GREETING), count=count, entries=entries)
        self.answer(200, "text/html; charset=utf-8", text)

    def answer(self, status, kind, text, headers=None):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format, *args):
        print(f"{self.address_string()} {format % args}")


def main():
    sys.stdout.reconfigure(line_buffering=True)
    create()
    server = ThreadingHTTPServer(("0.0.0.0", PORT), Guestbook)
    # Idle connections must not keep the process from ending; open requests may, for a while.
    server.daemon_threads = True
    # shutdown() waits for the loop that this handler interrupts, hence the thread.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on 0.0.0.0:{PORT}")
    server.serve_forever(poll_interval=0.1)
    OPEN.wait_for_none(8)
    server.server_close()


if __name__ == "__main__":
    main()
