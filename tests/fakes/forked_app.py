"""A WSGI app whose Client is used before gunicorn forks: `gunicorn --preload tests.fakes.forked_app:app`."""

from __future__ import annotations

import os

from flask import Flask, request

from turnkeeper_client import Client

app = Flask(__name__)
client = Client()
# its loop thread, its connections and its broker are there before the fork
before = client.enqueue("before-the-fork", "early", agent="support").wait(timeout=60)
parent = os.getpid()


@app.get("/ask")
def ask() -> dict[str, object]:
    """Enqueue `text` in the session `session`, and wait for the answer."""
    run = client.enqueue(request.args["session"], request.args["text"], agent="support")
    ended = run.wait(timeout=60)
    return {"pid": os.getpid(), "run": ended.id, "answer": ended.output}


@app.get("/before")
def look_back() -> dict[str, object]:
    """What the process did that this one was forked from."""
    return {"parent": parent, "pid": os.getpid(), "answer": client.get(before.id).output}
