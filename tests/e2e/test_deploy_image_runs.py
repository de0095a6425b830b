"""deploy/Dockerfile, built and run: what is in the image, that it writes nowhere, that runs end in it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fakes import replies
from tests.fakes.containers import Container, Engine, NoEngine
from tests.fakes.deploy import DEPLOY, MARGIN, ROOT, compose, env_file
from tests.fakes.model_server import ScriptedModel
from tests.fakes.pages import blocks_of
from tests.fakes.proxy import Proxy
from tests.fakes.servers import Misconfigured
from tests.fakes.wait import eventually, eventually_sync
from turnkeeper_client import AsyncClient
from turnkeeper_storage.version import __version__

# one image for all tests here, so in one process
pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]
# bytes on top of the base image: 180 MB when this was written
ROOM = 230_000_000
GRACE = 8


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    try:
        found = Engine()
    except Misconfigured as error:
        pytest.exit(str(error), returncode=4)
    except NoEngine as reason:
        pytest.skip(f"no container engine: {reason}")
    with found:
        yield found


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    return engine.build_turnkeeper()


@pytest.fixture(scope="module")
def with_agents(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image with agents on top, by the lines of deploy/README.md."""
    folder = tmp_path_factory.mktemp("agents")
    (lines,) = [block.text for block in blocks_of(DEPLOY / "README.md") if block.text.startswith("FROM ")]
    (folder / "Dockerfile").write_text(lines, encoding="utf-8")
    shutil.copy(ROOT / "examples/quickstart/agents.py", folder)
    return engine.build(folder / "Dockerfile", folder, "agents", {"turnkeeper:local": image})


def mounted() -> list[str]:
    """The options for agents from a folder, as in deploy/compose.yaml."""
    secrets = {name: "secret" for name in env_file(DEPLOY / "compose.env.example") if "PASSWORD" in name}
    worker = compose(secrets)["services"]["worker"]
    (volume,) = worker["volumes"]
    folder, inside = volume.split(":", 1)
    path = worker["environment"]["PYTHONPATH"]
    return ["--volume", f"{(DEPLOY / folder).resolve()}:{inside}", "--env", f"PYTHONPATH={path}"]


def shell(engine: Engine, image: str, script: str) -> list[str]:
    return engine.output(image, "-c", script, options=("--entrypoint", "sh")).splitlines()


def test_only_what_the_image_is_made_of_is_sent_to_the_engine(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(f"FROM {engine.base}\nCOPY . /context\n", encoding="utf-8")
    shutil.copy(DEPLOY / "Dockerfile.dockerignore", tmp_path)
    sent = engine.build(file, ROOT, "context", {})
    names = shell(engine, sent, "cd /context && ls -A && find . -name '*.pyc' -o -name __pycache__")
    files = ["CHANGELOG.md", "LICENSE", "README.md", "constraints.txt", "pyproject.toml"]
    assert sorted(names) == sorted([*files, "api_client", "storage", "worker"])


def test_it_adds_no_more_than_the_packages_and_keeps_nothing_that_only_its_build_wants(
    engine: Engine, image: str
) -> None:
    assert engine.size(image) - engine.size(engine.base) < ROOM
    left = "ls -d /source /opt/turnkeeper/bin/pip* /opt/turnkeeper/lib/python*/site-packages/pip* 2>/dev/null"
    assert shell(engine, image, f"{left}; command -v gcc cc make git; ls -A /app /tmp; true") == [
        "/app:",
        "",
        "/tmp:",
    ]


def test_it_runs_as_a_user_of_its_own_whose_programs_it_may_not_change(engine: Engine, image: str) -> None:
    who = engine.run(
        "run",
        "--rm",
        "--no-healthcheck",
        "--entrypoint",
        "sh",
        image,
        "-c",
        "id -u; id -g; echo >/opt/turnkeeper/x",
    )
    assert who.stdout.split() == ["10001", "10001"]
    assert "Permission denied" in who.stderr


def test_it_starts_without_a_disk_to_write_on_and_compiles_nothing_that_was_installed(
    engine: Engine, image: str
) -> None:
    assert engine.output(image, "--version") == f"turnkeeper {__version__}\n"
    # python says of each module whether it read it as source or compiled
    script = "python -v -c 'import turnkeeper.cli.main, turnkeeper_worker.app' 2>&1"
    told = shell(engine, image, f"{script} | grep 'code object from ./opt/turnkeeper/'")
    assert len(told) > 100
    assert [line for line in told if not line.rstrip("'").endswith(".pyc")] == []


def test_agents_on_top_of_it_go_before_those_that_compose_mounts(
    engine: Engine, image: str, with_agents: str
) -> None:
    load = "from turnkeeper.cli.loading import load_app; load_app('agents')"
    found = f"{load}; import agents; print(agents.__file__)"
    given = ("--entrypoint", "python", *mounted())
    assert engine.output(image, "-c", found, options=given) == "/agents/agents.py\n"
    assert engine.output(with_agents, "-c", found, options=given) == "/app/agents.py\n"


def test_its_health_check_passes_where_the_api_serves(engine: Engine, with_agents: str) -> None:
    # on a network of its own, where nobody else has the port
    database = ("--env", "TURNKEEPER_DATABASE_URL=sqlite:////tmp/turnkeeper.db")
    start = "turnkeeper migrate && exec turnkeeper api --agents agents"
    given = (*database, "--entrypoint", "sh")
    api = engine.start(with_agents, "-c", start, options=given, network="none")
    eventually_sync(lambda: api.is_healthy() or api.returncode is not None, within=60, every=0.5)
    assert api.returncode is None, api.log
    assert api.stop(20) == 0


async def test_runs_enqueued_over_http_end_in_its_workers_and_go_on_elsewhere_when_one_is_stopped(
    engine: Engine, image: str, with_agents: str, postgres_database: str, redis_url: str
) -> None:
    async with (
        Proxy(postgres_database) as database,  # which may listen on a socket in a folder only
        ScriptedModel(answer=lambda _: replies.text("It leaves today.")) as model,
    ):
        there = Deployed(engine, image, database.url, redis_url, model.base_url)
        await there.run("migrate")
        key = (await there.run("keys", "create", "ana", "--scope", "runs")).strip()
        port = free_port()
        api = await there.start("api", "--port", str(port), "--agents", "agents", options=mounted())
        first = await there.start("worker", "agents", options=mounted())
        await asyncio.to_thread(api.wait_for_log, "HTTP API listens on")
        await asyncio.to_thread(first.wait_for_log, "Turnkeeper works on: support")
        async with AsyncClient(f"http://127.0.0.1:{port}", api_key=key) as client:
            run = await client.enqueue("customer-42", "Where is order 7?", agent="support")
            assert (await run.wait(30)).output == "It leaves today."

            model.hold()
            run = await client.enqueue("customer-42", "And order 8?", agent="support")
            await model.wait_for(2, within=30)
            other = await there.start("worker", "agents", image=with_agents)
            await asyncio.to_thread(other.wait_for_log, "Turnkeeper works on: support")
            began = time.monotonic()
            assert await asyncio.to_thread(first.stop, GRACE + int(MARGIN)) == 0, first.log
            assert time.monotonic() - began < GRACE + MARGIN
            # whom the first one asked in vain is asked again
            await eventually(lambda: len(model.requests) == 3, within=30)
            model.release()
            assert (await run.wait(30)).output == "It leaves today."
        for container in (api, other):
            assert await asyncio.to_thread(container.stop, GRACE + int(MARGIN)) == 0, container.log


class Deployed:
    """Processes of the image on one database, off the loop."""

    def __init__(self, engine: Engine, image: str, database: str, redis: str, model: str) -> None:
        self._engine = engine
        self._image = image
        environment = {
            "TURNKEEPER_DATABASE_URL": database,
            "TURNKEEPER_BROKER_URL": redis,
            "TURNKEEPER_GRACE_SECONDS": str(GRACE),
            "OPENAI_BASE_URL": model,
            "OPENAI_API_KEY": "test",
        }
        self._given = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]

    async def run(self, *command: str) -> str:
        return await asyncio.to_thread(self._engine.output, self._image, *command, options=self._given)

    async def start(self, *command: str, options: Sequence[str] = (), image: str = "") -> Container:
        given = (*self._given, "--no-healthcheck", *options)
        return await asyncio.to_thread(self._engine.start, image or self._image, *command, options=given)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
