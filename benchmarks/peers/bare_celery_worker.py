"""Celery tasks that store nothing: a bare model call, and nothing at all.

celery --app benchmarks.peers.bare_celery_worker worker
"""

from __future__ import annotations

import os
from functools import cache

import httpx2
from celery import Celery
from celery.signals import worker_ready

from benchmarks.peers.celery_side import READY

app = Celery("bare_celery", broker=os.environ["PEER_REDIS_URL"], backend=os.environ["PEER_REDIS_URL"])


@worker_ready.connect  # type: ignore[untyped-decorator]
def tell(**_: object) -> None:
    """Say that tasks are taken now."""
    print(READY, flush=True)


@cache
def model() -> httpx2.Client:
    """The process' connection to the model server, which stays open."""
    return httpx2.Client(
        base_url=os.environ["OPENAI_BASE_URL"],
        headers={"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
        timeout=60,
    )


@app.task(name="bare.answer", ignore_result=True)  # type: ignore[untyped-decorator]
def answer(session: str, text: str) -> None:
    """Ask the model once; an error when there is no text in its answer."""
    told = model().post("/responses", json={"model": "bench", "input": [{"role": "user", "content": text}]})
    told.raise_for_status()
    if not told.json()["output"][0]["content"][0]["text"]:
        raise ValueError("the model said nothing")


@app.task(name="bare.empty")  # type: ignore[untyped-decorator]
def empty() -> None:
    """Do nothing; its result goes the way back through Redis."""
