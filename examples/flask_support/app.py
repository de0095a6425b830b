"""A support desk on Flask: ask, poll, or follow the answer.

flask --app examples/flask_support/app.py run
gunicorn --preload --workers 2 --threads 8 examples.flask_support.app:app
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Iterator

from flask import Flask, Response, abort, request, session, url_for
from flask.typing import ResponseReturnValue

from turnkeeper import Client, NotFound, WaitTimeout
from turnkeeper_client import RunEvent, RunSnapshot

STREAM_SECONDS = 60.0  # a stream holds a thread: let it go from time to time, the browser comes back

app = Flask(__name__)
# several processes need one key that they share
app.secret_key = os.environ.get("SUPPORT_SECRET_KEY") or secrets.token_bytes(32)
app.config.update(SESSION_COOKIE_SAMESITE="Strict", MAX_CONTENT_LENGTH=64_000)
# one for all threads; a process that is forked gets connections of its own at its first call
client = Client()


def conversation() -> str:
    """The session of who asks, out of a signed cookie, which stands in for your log-in."""
    return f"support-{session.setdefault('customer', secrets.token_hex(8))}"


def own_run(run_id: str) -> RunSnapshot:
    """The run, if it is of one's own conversation."""
    run = client.get(run_id)
    if run.session_id != conversation():
        raise NotFound("run", run_id)
    return run


@app.errorhandler(NotFound)
def not_found(error: NotFound) -> ResponseReturnValue:
    """No such run, or somebody else's: nobody is told which."""
    return {"error": str(error)}, 404


@app.post("/questions")
def ask() -> ResponseReturnValue:
    """Accept a question, `{"text": …}`. The same Idempotency-Key again gives the same run."""
    said = request.get_json()
    if not isinstance(said, dict) or not isinstance(said.get("text"), str) or not said["text"].strip():
        abort(422)
    key = request.headers.get("Idempotency-Key")
    run = client.enqueue(conversation(), said["text"], agent="support", idempotency_key=key, stream=True)
    return {"run_id": run.id}, 202, {"Location": url_for("look", run_id=run.id)}


@app.get("/runs/<run_id>")
def look(run_id: str) -> ResponseReturnValue:
    """The run as it stands; with `?wait=5` as it stands once it has ended, or in 5 seconds."""
    run = own_run(run_id)
    seconds = min(request.args.get("wait", 0.0, type=float), 20.0)
    if seconds > 0:
        try:
            run = client.wait(run_id, seconds)
        except WaitTimeout:
            run = client.get(run_id)
    return {"status": run.status.value, "answer": run.output, "error": run.error and run.error.message}


@app.get("/runs/<run_id>/events")
def follow(run_id: str) -> ResponseReturnValue:
    """What happens in the run, for an EventSource; 204 when all of it was told."""
    ended = own_run(run_id).finished_at is not None
    events = client.events(run_id, request.headers.get("Last-Event-ID", "0"), timeout=STREAM_SECONDS)
    if ended:  # then nothing is waited for: is there anything left?
        first = next(events, None)
        if first is None:
            return "", 204
        events = itertools.chain([first], events)
    return Response(written(events), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})


def written(events: Iterator[RunEvent]) -> Iterator[str]:
    """The events as a browser reads them; their cursors come back as Last-Event-ID."""
    try:
        for event in events:
            yield f"id: {event.cursor}\nevent: {event.type}\ndata: {json.dumps(event.data)}\n\n"
    except WaitTimeout:
        return  # long enough: the browser comes back and goes on
