"""`Turnkeeper`: a user's agents, made into a Celery app that works on their runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from turnkeeper_storage.doorbell import RUN_TASK, make_celery
from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.model import AgentRecord
from turnkeeper_storage.sessions.factories import SessionFactory
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.merge import SessionInputCallback
from turnkeeper_worker.models.base import Model
from turnkeeper_worker.persisting import BeforePersist
from turnkeeper_worker.runner import Runner

if TYPE_CHECKING:
    from celery import Celery

# Any: what a lifespan yields is the user's own, and comes back as `RunContext.deps`.
Lifespan: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]
T = TypeVar("T")
ModelFactory: TypeAlias = Callable[[Settings], Model]


class Turnkeeper:
    """Agents and how their runs are worked on.

    `lifespan`: an async context manager (`@asynccontextmanager`), called once per worker process with this
    object, or with nothing if it takes nothing; what it yields is `RunContext.deps`. `celery`: your own app,
    which gets our two tasks and is otherwise left alone. `session_factory(session_id)` gives the session that
    runs use instead of the one in the database; it may take a `tenant`, and our `database`, too.
    `session_input_callback`: for agents without one of their own; `session_input_callbacks`: by the names
    that runs may ask for. `before_persist(items, context)` is given what a run is about to store, for each of
    its turns, and returns what is stored instead.
    `model`: a function that makes the model client out of the settings, called on the worker's loop, at whose
    end it is closed; by default `settings.model_api` says which. `runner`: another way to take a turn.
    Settings come from `settings`, or the environment with what is given as keywords on top (see `Settings`).

    Raises ConfigurationError.
    """

    def __init__(
        self,
        *,
        agents: Sequence[Agent],
        lifespan: Lifespan | None = None,
        celery: Celery | None = None,
        session_factory: SessionFactory | None = None,
        session_input_callback: SessionInputCallback | None = None,
        session_input_callbacks: Mapping[str, SessionInputCallback] | None = None,
        before_persist: BeforePersist | None = None,
        model: ModelFactory | None = None,
        runner: Runner | None = None,
        settings: Settings | None = None,
        **overrides: object,
    ) -> None:
        if settings is not None and overrides:
            raise ConfigurationError("give either settings or single settings as keywords, not both")
        self.settings = settings if settings is not None else load_settings(**overrides)
        self.agents = _by_name(agents)
        _check_model(model, runner)
        self.lifespan = lifespan
        self.session_factory = session_factory
        self.session_input_callback = session_input_callback
        self.session_input_callbacks = _callbacks(session_input_callbacks)
        self.before_persist = _function("before_persist", before_persist)
        self.model = model
        self.runner = runner
        self.celery = celery if celery is not None else _own_celery(self.settings)
        self._attach()

    def records(self) -> list[AgentRecord]:
        """The agents as they are registered in the database."""
        queue = self.settings.queue
        return [
            AgentRecord(agent.name, agent.digest, queue, list(agent.definitions))
            for agent in self.agents.values()
        ]

    def open_lifespan(self) -> AbstractAsyncContextManager[Any] | None:
        """The user's context manager for one process, not yet entered."""
        if self.lifespan is None:
            return None
        takes_app = bool(inspect.signature(self.lifespan).parameters)
        return self.lifespan(self) if takes_app else self.lifespan()

    def _attach(self) -> None:
        from turnkeeper_worker.celery_steps import attach

        attach(self)


def _by_name(agents: Sequence[Agent]) -> dict[str, Agent]:
    if not agents:
        raise ConfigurationError("agents: give Turnkeeper at least one Agent")
    named: dict[str, Agent] = {}
    for agent in agents:
        if not isinstance(agent, Agent):
            raise ConfigurationError(f"agents: {type(agent).__name__} is no Agent")
        if agent.name in named:
            raise ConfigurationError(f"agents: two are named {agent.name!r}; give each a name of its own")
        named[agent.name] = agent
    return named


def _callbacks(given: Mapping[str, SessionInputCallback] | None) -> dict[str, SessionInputCallback]:
    named = dict(given or {})
    for name, callback in named.items():
        if not _is_name(name):
            raise ConfigurationError(
                f"session_input_callbacks: {name!r}; use names of 1 to 255 printable characters"
            )
        _function(f"session_input_callbacks, {name!r}", callback)
    return named


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= 255 and value.isprintable()


def _function(what: str, value: T) -> T:
    if value is not None and not callable(value):
        raise ConfigurationError(f"{what}: {type(value).__name__}; use a function")
    return value


def _check_model(model: object, runner: Runner | None) -> None:
    if model is None:
        return
    if not callable(model):
        raise ConfigurationError(
            f"model: {type(model).__name__} is no function; give one that takes the Settings and returns "
            "a Model (a model's name goes into Agent(model=…))"
        )
    if runner is not None:
        raise ConfigurationError("give either model or runner: a runner calls a model of its own")


def _own_celery(settings: Settings) -> Celery:
    celery = make_celery(settings.broker_url, settings.queue)
    # for producers that share the app; others name the queue, as they do with a user's own app
    ingest = {"queue": settings.ingest_queue}
    celery.conf.task_routes = {RUN_TASK: ingest, "turnkeeper.decide": ingest}
    return celery
