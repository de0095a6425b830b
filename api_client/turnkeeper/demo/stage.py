"""The demo's stage: a folder, a database, a broker, a model and two workers, gone when the block ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from turnkeeper.demo import script
from turnkeeper.demo.processes import Child, Children
from turnkeeper.demo.signals import EndingSignals
from turnkeeper.servers.valkey import NoValkey, serve_valkey
from turnkeeper_storage.engine import async_url
from turnkeeper_storage.errors import ConfigurationError

KEPT = Path(".turnkeeper", "demo")
# of the user's own, for other work than this: never to be touched from here
_NOT_OURS = ("TURNKEEPER_", "CELERY_")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the call asked for; None and False leave it to the demo."""

    keep: bool = False
    database_url: str | None = None
    broker_url: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands: URLs, the shop's log, and words for what is used.

    `practice_url` is where the practice model listens, None with a real one.
    """

    folder: Path
    database_url: str
    broker_url: str
    log: Path
    practice_url: str | None
    uses: tuple[str, ...]


@contextlib.contextmanager
def set_up(wishes: Wishes, signals: EndingSignals) -> Iterator[tuple[Stage, Children]]:
    """Folder, broker, model and environment; the block starts the workers itself.

    Raises ConfigurationError where there is no broker, DemoFailed when the practice model does not start.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_folder(wishes.keep))
        broker_url, broker = stack.enter_context(_broker(wishes.broker_url))
        database_url, database = _database(wishes.database_url, folder)
        children = stack.enter_context(Children(folder))
        stack.callback(signals.ignore)
        model, practice_url = _model(children)
        stage = Stage(
            folder=folder,
            database_url=database_url,
            broker_url=broker_url,
            log=folder / "lookups.jsonl",
            practice_url=practice_url,
            uses=(database, broker, model),
        )
        stack.enter_context(_environment({**script.SETTINGS, **_ours(stage)}))
        yield stage, children


def start_workers(children: Children) -> tuple[Child, Child]:
    """Two worker processes, both ready for work. Blocks; raises DemoFailed."""
    command = ("turnkeeper", "worker", "turnkeeper.demo.agents")
    workers = [children.start(f"worker {name}", *command) for name in "AB"]
    for worker in workers:
        worker.wait_for(" ready.", script.START_SECONDS)
    return workers[0], workers[1]


@contextlib.contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    if not keep:
        with tempfile.TemporaryDirectory(prefix="turnkeeper-demo-", ignore_cleanup_errors=True) as made:
            yield Path(made).resolve()
        return
    kept = KEPT.resolve()
    if kept.exists():
        shutil.rmtree(kept)
    kept.mkdir(parents=True)
    yield kept


@contextlib.contextmanager
def _broker(wished: str | None) -> Iterator[tuple[str, str]]:
    if wished:
        yield wished, "broker: the one that --broker-url names"
        return
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(serve_valkey())
        except NoValkey as why:
            named = os.environ.get("TURNKEEPER_BROKER_URL")
            if not named:
                raise ConfigurationError(
                    f"the demo needs a broker, and {why}; or set TURNKEEPER_BROKER_URL to a Redis or "
                    "RabbitMQ server, e.g. redis://127.0.0.1:6379/0"
                ) from None
            yield named, f"broker: the one that TURNKEEPER_BROKER_URL names ({why})"
            return
        yield url, f"broker: a Valkey server of its own at {url}"


def _database(wished: str | None, folder: Path) -> tuple[str, str]:
    if wished is None:
        url = URL.create("sqlite", database=str(folder / "turnkeeper.db"))
        return url.render_as_string(), "database: SQLite in a file"
    url = async_url(wished)
    if url.get_backend_name() == "sqlite" and url.database:
        # the workers run in another folder
        url = url.set(drivername="sqlite", database=str(Path(url.database).resolve()))
        return url.render_as_string(), f"database: SQLite at {url.database}"
    return wished, f"database: {url.get_backend_name()}, as --database-url says"


def _model(children: Children) -> tuple[str, str | None]:
    """What is said of the model, and the practice model's URL when it is that one."""
    base_url = os.environ.get("OPENAI_BASE_URL")
    if base_url or os.environ.get("OPENAI_API_KEY"):
        where = "the server that OPENAI_BASE_URL names" if base_url else "OpenAI"
        return f"model: {_real_model()} of {where} (calls may cost money)", None
    latency, pace = str(script.PRACTICE_LATENCY), str(script.PRACTICE_PACE)
    practice = children.start("practice model", "turnkeeper.practice", "--latency", latency, "--pace", pace)
    url = practice.wait_for("/v1\n", script.START_SECONDS).splitlines()[-1]
    said = "model: the practice model, a local server that follows rules and is no AI"
    return f"{said} (set OPENAI_API_KEY for a real one)", url


def _real_model() -> str:
    return os.environ.get(script.MODEL_VARIABLE) or script.DEFAULT_MODEL


def _ours(stage: Stage) -> dict[str, str]:
    ours = {
        "TURNKEEPER_DATABASE_URL": stage.database_url,
        "TURNKEEPER_BROKER_URL": stage.broker_url,
        "TURNKEEPER_QUEUE": script.QUEUE,
        script.LOG_VARIABLE: str(stage.log),
        script.MODEL_VARIABLE: "practice" if stage.practice_url else _real_model(),
        "PYTHONUNBUFFERED": "1",
    }
    if stage.practice_url:
        # a proxy of the user's leads nowhere from the loopback
        proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        ours |= {"OPENAI_BASE_URL": stage.practice_url, "OPENAI_API_KEY": "practice", **proxies}
    return ours


@contextlib.contextmanager
def _environment(ours: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in before:
        if name.startswith(_NOT_OURS):
            del os.environ[name]
    os.environ.update(ours)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
