"""Fixtures that all tests share: servers, databases of a test's own, processes."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests import mutants
from tests.fakes import databases
from tests.fakes.database_pool import DatabasePool
from tests.fakes.pgbouncer import NoPgBouncer, PgBouncer, pgbouncer
from tests.fakes.processes import Processes
from tests.fakes.servers import Kind, Misconfigured, Servers, Unavailable
from tests.fakes.warm import IS_POSSIBLE, WarmStarter

_SERVERS = pytest.StashKey[Servers]()
# What the servers of other processes were, when the tests are spread over some.
_ELSEWHERE = pytest.StashKey[list[str]]()
# A fixture that needs a server gives its tests that server's mark.
_MARKS = {"postgres_server_url": "postgres", "redis_server_url": "redis", "rabbitmq_url": "rabbitmq"}

# How the reasons of skips begin, and what there was none of.
_LACKS = {
    "no browser": "A BROWSER",
    "no Prometheus": "PROMETHEUS",
    "no container engine": "A CONTAINER ENGINE",
    "no PgBouncer": "PGBOUNCER",
}


def pytest_configure(config: pytest.Config) -> None:
    mutants.apply_from_env()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs deaf to Ctrl-C, and so would be every process that a test starts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        config.stash[_SERVERS] = Servers()
        config.stash[_ELSEWHERE] = []
    except Misconfigured as error:
        raise pytest.UsageError(str(error)) from error


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SERVERS in config.stash:
        config.stash[_SERVERS].stop()


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # one of several processes: the one that reports hears of our servers
        output["servers"] = session.config.stash[_SERVERS].summary()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    lines = getattr(node, "workeroutput", {}).get("servers", [])
    node.config.stash[_ELSEWHERE].extend(lines)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in _MARKS:
                item.add_marker(_MARKS[fixture])
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    started = getattr(item, "funcargs", {}).get("processes")
    if report.when == "call" and report.failed and isinstance(started, Processes):
        report.sections.append(("logs of its processes", started.logs()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = dict.fromkeys((*config.stash[_SERVERS].summary(), *config.stash[_ELSEWHERE]))
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())]
    missed = {kind: sum(_skip_reason(kind) in text for text in skipped) for kind in _MARKS.values()}
    if lines:
        terminalreporter.section("servers used", bold=True)
        for line in lines:
            terminalreporter.line(line)
    for kind, count in missed.items():
        if count:
            terminalreporter.line(f"{count} TESTS NOT RUN FOR LACK OF {kind.upper()}", red=True, bold=True)
    for reason, what in _LACKS.items():
        count = sum(f"{reason}:" in text for text in skipped)
        if count:
            terminalreporter.line(f"{count} TESTS NOT RUN FOR LACK OF {what}", red=True, bold=True)


def _skip_reason(kind: str) -> str:
    return f"no {kind} server:"


def _server_url(request: pytest.FixtureRequest, kind: Kind) -> str:
    try:
        return request.config.stash[_SERVERS].get(kind).url
    except Misconfigured as error:
        pytest.exit(str(error), returncode=4)
    except Unavailable as reason:
        pytest.skip(f"{_skip_reason(kind)} {reason}")


@pytest.fixture(scope="session")
def postgres_server_url(request: pytest.FixtureRequest) -> str:
    """A PostgreSQL server's own database, `postgresql+asyncpg://…`: for making databases, not for tables."""
    url = make_url(_server_url(request, "postgres")).set(drivername="postgresql+asyncpg")
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def redis_server_url(request: pytest.FixtureRequest) -> str:
    """A Redis or Valkey server that others may use too; for one's own data take `redis_url`."""
    return _server_url(request, "redis")


@pytest.fixture(scope="session")
def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """A RabbitMQ server that others may use too: name queues uniquely and delete them."""
    return _server_url(request, "rabbitmq")


@pytest.fixture
def postgres_database(postgres_server_url: str) -> Iterator[str]:
    """An empty PostgreSQL database, `postgresql://…`, dropped after the test."""
    with databases.postgres_database(postgres_server_url) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_server_url: str) -> Iterator[str]:
    """The name of a migrated database, to be copied."""
    from turnkeeper_storage.migrate import upgrade

    with databases.postgres_database(postgres_server_url) as url:
        upgrade(url)
        yield databases.database_name(url)


@pytest.fixture(scope="session")
def postgres_pool(postgres_server_url: str, postgres_template: str) -> Iterator[DatabasePool]:
    """Migrated databases that tests take after each other."""
    pool = DatabasePool(postgres_server_url, postgres_template)
    yield pool
    pool.close()


@pytest.fixture
def migrated_postgres(postgres_pool: DatabasePool) -> Iterator[str]:
    """A migrated PostgreSQL database without rows, `postgresql://…`, of the test's own until it ends."""
    url = postgres_pool.take()
    yield url
    postgres_pool.give_back(url)


@pytest.fixture
def poolers(postgres_server_url: str) -> Iterator[Callable[..., PgBouncer]]:
    """Starts PgBouncers before the server of `migrated_postgres`: `poolers(default_pool_size="2")`."""
    with contextlib.ExitStack() as stack:

        def start(**options: str) -> PgBouncer:
            try:
                return stack.enter_context(pgbouncer(postgres_server_url, **options))
            except NoPgBouncer as reason:
                pytest.skip(f"no PgBouncer: {reason}")

        yield start


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An empty SQLite database, `sqlite:///…`."""
    return databases.sqlite_url(tmp_path / "turnkeeper.db")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a migrated SQLite database, to be copied."""
    from turnkeeper_storage.migrate import upgrade

    path = tmp_path_factory.mktemp("template") / "turnkeeper.db"
    upgrade(databases.sqlite_url(path))
    databases.checkpoint_sqlite(path)
    return path


@pytest.fixture
def migrated_sqlite(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database, `sqlite:///…`."""
    path = tmp_path / "migrated.db"
    shutil.copyfile(sqlite_template, path)
    return databases.sqlite_url(path)


_DATABASES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgres", id="postgres", marks=pytest.mark.postgres),
]


@pytest.fixture(params=_DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database, not migrated, on SQLite and on PostgreSQL."""
    fixture = {"sqlite": "sqlite_url", "postgres": "postgres_database"}[request.param]
    return str(request.getfixturevalue(fixture))


@pytest.fixture(params=_DATABASES)
def migrated_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own, on SQLite and on PostgreSQL."""
    return str(request.getfixturevalue(f"migrated_{request.param}"))


@pytest.fixture
def redis_url(redis_server_url: str) -> Iterator[str]:
    """An empty Redis database of the test's own, `redis://…/N`, flushed after the test."""
    try:
        with databases.redis_database(redis_server_url) as url:
            yield url
    except databases.NoDatabaseFree as reason:
        pytest.skip(f"{_skip_reason('redis')} {reason}")


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmStarter | None]:
    """Starts processes that need not import everything anew; None where that cannot be."""
    if not IS_POSSIBLE:
        yield None
        return
    starter = WarmStarter()
    yield starter
    starter.close()


@pytest.fixture
def processes(tmp_path: Path, warm: WarmStarter | None) -> Iterator[Processes]:
    """Starts processes: `processes(sys.executable, "-m", "…", env={…})`; what still runs is killed."""
    started = Processes(tmp_path, warm=warm)
    try:
        yield started
    finally:
        started.end_all()
