"""What a `turnkeeper dev` uses: database, broker and model, as the call and the environment say."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy.engine import URL

from turnkeeper.dev.parts import API_READY, Part
from turnkeeper.dev.place import VARIABLES, DevUrls
from turnkeeper.servers.valkey import PASSWORD_VARIABLE, READY, NoValkey, find_valkey
from turnkeeper_storage.engine import async_url
from turnkeeper_storage.errors import ConfigurationError

DATABASE_FILE = "dev.db"
VALKEY_FOLDER = "valkey"
# what the extra [api] brings
API_NEEDS = ("fastapi", "sse_starlette", "uvicorn")
# A killed worker's runs go on within seconds; a reload waits that long for a turn before it is asked again.
PACE = {
    "TURNKEEPER_LEASE_SECONDS": "10",
    "TURNKEEPER_HEARTBEAT_SECONDS": "3",
    "TURNKEEPER_SWEEP_SECONDS": "1",
}
GRACE_VARIABLE = "TURNKEEPER_GRACE_SECONDS"
GRACE_SECONDS = 8.0
# of the user's shell, for other servers than ours
_NOT_OURS = (*VARIABLES, "TURNKEEPER_DB_SCHEMA", "TURNKEEPER_DEV_", "CELERY_BROKER_")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the call asked for. None leaves the choice to us; `reload` None: if there is a watcher."""

    module: str
    workers: int = 1
    reload: bool | None = None
    database_url: str | None = None
    broker_url: str | None = None
    practice: bool = False
    api_port: int | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What is used: where, what runs for it beside the workers, and words for it.

    `owns_database`: it is our file, and migrated without being asked. `page`: what to open in a browser.
    """

    urls: DevUrls
    services: tuple[Part, ...]
    workers: tuple[Part, ...]
    uses: tuple[str, ...]
    owns_database: bool
    valkey_folder: Path = field(default=Path())
    page: str | None = None


def plan_stage(
    wishes: Wishes, folder: Path, environment: Mapping[str, str], listening: socket.socket
) -> Stage:
    """Decide what is used; starts nothing. `listening`: where the HTTP API is to be.

    Raises ConfigurationError where there is no broker.
    """
    clean = {name: value for name, value in environment.items() if not name.startswith(_NOT_OURS)}
    clean["PYTHONUNBUFFERED"] = "1"
    database_url, database = _database(wishes.database_url, folder)
    broker_url, broker, valkey = _broker(wishes.broker_url, environment, clean)
    model, model_env, practice = _model(wishes.practice, clean)
    urls = DevUrls(database_url, broker_url)
    ours = {
        **_unless_named(PACE, clean),
        **clean,
        **_kept_with_given_servers(wishes, environment),
        "TURNKEEPER_DATABASE_URL": database_url,
        "TURNKEEPER_BROKER_URL": broker_url,
        **model_env,
    }
    grace = ours.setdefault(GRACE_VARIABLE, f"{GRACE_SECONDS:g}")
    api, page, told = _api(wishes, ours, listening)
    return Stage(
        urls=urls,
        services=tuple(part for part in (valkey, practice, api) if part is not None),
        workers=_workers(wishes, ours, grace),
        uses=(database, broker, model, told, *_ignored(wishes, environment)),
        page=page,
        owns_database=wishes.database_url is None,
        valkey_folder=folder / VALKEY_FOLDER,
    )


def _workers(wishes: Wishes, env: Mapping[str, str], grace: str) -> tuple[Part, ...]:
    try:
        seconds = float(grace) + 2.0
    except ValueError:
        raise ConfigurationError(f"{GRACE_VARIABLE}: {grace!r} is no number; give seconds") from None
    names = ["worker"] if wishes.workers == 1 else [f"worker {n + 1}" for n in range(wishes.workers)]
    return tuple(
        Part(name, ("worker", wishes.module), " ready.", follows_code=True, stop_seconds=seconds, env=env)
        for name in names
    )


def _api(
    wishes: Wishes, env: Mapping[str, str], listening: socket.socket
) -> tuple[Part | None, str | None, str]:
    """The HTTP API, where its page is, and what is said of it."""
    missing = [name for name in API_NEEDS if find_spec(name) is None]
    if missing:
        return None, None, f"api: off, {missing[0]} is not installed (pip install 'turnkeeper[api]')"
    host, port = listening.getsockname()[:2]
    page = f"http://{host}:{port}/"
    handed = listening.fileno()
    part = Part("api", ("api", str(handed), wishes.module), API_READY, env=env, handed=(handed,))
    return part, page, f"api: {page}v1, for whoever is on this machine; its page: {page}"


def _database(wished: str | None, folder: Path) -> tuple[str, str]:
    if wished is None:
        url = URL.create("sqlite", database=str(folder / DATABASE_FILE))
        return url.render_as_string(), f"database: SQLite in {folder.name}/{DATABASE_FILE}"
    url = async_url(wished)
    if url.get_backend_name() == "sqlite" and url.database:
        # other commands may run elsewhere
        url = url.set(drivername="sqlite", database=str(Path(url.database).resolve()))
        return url.render_as_string(), "database: the SQLite file that --database-url names"
    return wished, f"database: {url.get_backend_name()}, as --database-url says"


def _broker(
    wished: str | None, environment: Mapping[str, str], env: Mapping[str, str]
) -> tuple[str, str, Part | None]:
    if wished:
        return wished, "broker: the one that --broker-url names", None
    try:
        find_valkey()
    except NoValkey as why:
        named = environment.get("TURNKEEPER_BROKER_URL")
        if not named:
            raise ConfigurationError(
                f"a broker is needed, and {why}; or give --broker-url with a Redis or RabbitMQ server, "
                "e.g. redis://127.0.0.1:6379/0"
            ) from None
        return named, f"broker: the one that TURNKEEPER_BROKER_URL names ({why})", None
    port, password = _free_port(), secrets.token_hex(16)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    part = Part(
        "valkey", ("valkey", str(port)), READY, is_shown=False, env={**env, PASSWORD_VARIABLE: password}
    )
    return url, f"broker: a Valkey server of its own on 127.0.0.1:{port}", part


def _model(practice: bool, env: Mapping[str, str]) -> tuple[str, dict[str, str], Part | None]:
    """What is said of the model, what workers are told, and the practice model when it is that one."""
    base_url = env.get("OPENAI_BASE_URL")
    has_real = bool(base_url or env.get("OPENAI_API_KEY"))
    if has_real and not practice:
        where = "the server that OPENAI_BASE_URL names" if base_url else "OpenAI"
        return f"model: {where} (calls may cost money; --practice for none)", {}, None
    port = _free_port()
    part = Part("practice", ("practice", str(port)), "/v1", is_shown=False, env=dict(env))
    told = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "OPENAI_API_KEY": "practice",
        "TURNKEEPER_MODEL_API": "responses",
        # a proxy of the user's leads nowhere from the loopback
        **{name: _joined(env.get(name), "127.0.0.1") for name in ("NO_PROXY", "no_proxy")},
    }
    remedy = "" if practice else " (set OPENAI_API_KEY or OPENAI_BASE_URL for a real one)"
    return f"model: the practice model, a local server that follows rules and is no AI{remedy}", told, part


def _joined(listed: str | None, one: str) -> str:
    return f"{listed},{one}" if listed else one


def _unless_named(settings: Mapping[str, str], env: Mapping[str, str]) -> Mapping[str, str]:
    # they depend on each other: one of the user's own makes all of them his
    return {} if any(name in env for name in settings) else settings


def _kept_with_given_servers(wishes: Wishes, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment's details of servers that the call names itself."""
    kept = {}
    if wishes.database_url and "TURNKEEPER_DB_SCHEMA" in environment:
        kept["TURNKEEPER_DB_SCHEMA"] = environment["TURNKEEPER_DB_SCHEMA"]
    if wishes.broker_url and "TURNKEEPER_REDIS_URL" in environment:
        kept["TURNKEEPER_REDIS_URL"] = environment["TURNKEEPER_REDIS_URL"]
    return kept


def _ignored(wishes: Wishes, environment: Mapping[str, str]) -> list[str]:
    options = {"TURNKEEPER_DATABASE_URL": wishes.database_url, "TURNKEEPER_BROKER_URL": wishes.broker_url}
    return [
        f"note: {name} is set; this uses its own all the same, other commands in this shell do not "
        f"(unset it, or give --{name.removeprefix('TURNKEEPER_').lower().replace('_', '-')})"
        for name, given in options.items()
        if environment.get(name) and not given and environment[name] != given
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def code_folders(module: str, root: Path) -> list[Path]:
    """Where the code is: `root`, and the module's own folder when that is elsewhere.

    Raises ConfigurationError when there is no such module. Imports nothing.
    """
    name = module.partition(":")[0].partition(".")[0]
    found = _find(name, root)
    if found is None:
        raise ConfigurationError(f"MODULE: there is no module {name!r} here; run this where {name}.py is")
    inside = found.is_relative_to(root) or "site-packages" in found.parts
    return [root] if inside else [root, found]


def _find(name: str, root: Path) -> Path | None:
    from importlib.machinery import PathFinder

    if not name.isidentifier():
        raise ConfigurationError(f"MODULE: {name!r} is no name of a module; use e.g. 'agents' for agents.py")
    import sys

    spec = PathFinder.find_spec(name, [str(root), *filter(os.path.isabs, sys.path)])
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or [])
    if places:
        return Path(places[0]).resolve()
    return Path(spec.origin).resolve().parent if spec.origin else None
