"""What every run of a worker process works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from turnkeeper_storage.database import Database
from turnkeeper_storage.publisher import Publisher
from turnkeeper_storage.settings import Settings
from turnkeeper_worker.merge import SessionInputCallback
from turnkeeper_worker.persisting import BeforePersist
from turnkeeper_worker.runner import Runner


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`callback` is the app's; an agent's own goes before it, and one of `callbacks` that a run names first.

    `before_persist`: the app's hook on what is stored. `deps` is the user's own, so Any.

    `stopping` says that the worker is shutting down; `publisher` sends the deltas of streamed runs.
    """

    database: Database
    settings: Settings
    runner: Runner
    threads: Executor
    deps: Any
    stopping: Callable[[], bool]
    callback: SessionInputCallback | None = None
    callbacks: Mapping[str, SessionInputCallback] = field(default_factory=dict)
    before_persist: BeforePersist | None = None
    publisher: Publisher | None = None
