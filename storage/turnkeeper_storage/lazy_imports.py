"""Imports that wait until they are needed, and that threads begin at the same time: one after the other.

Python locks each module while it is imported. `redis` and `redis.asyncio` import each other, so a thread
that begins with the one and a thread that begins with the other (kombu's transport) lock each other out, and
one of them is given an error in place of its module.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_lock = threading.RLock()


@contextmanager
def importing() -> Iterator[None]:
    """Keep other lazy imports of this process out. It blocks: not for the event loop."""
    with _lock:
        yield


def import_once(name: str) -> ModuleType:
    """The module of that full name. It blocks: not for the event loop. Raises ImportError.

    What contains it goes first, as in every import that begins there: so this agrees with threads that
    know nothing of our lock, Celery's own among them.
    """
    parts = name.split(".")
    with importing():
        for end in range(1, len(parts)):
            importlib.import_module(".".join(parts[:end]))
        return importlib.import_module(name)


def _renew() -> None:
    # the thread that held it is not in a forked child
    global _lock  # noqa: PLW0603 - one lock for the process is the purpose
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew)
