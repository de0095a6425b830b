"""The commands and the environment of deploy/compose.yaml, under a supervisor in place of an engine."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import make_url

from tests.fakes import replies
from tests.fakes.deploy import DEPLOY, compose, dockerfile, env_file, words_of
from tests.fakes.embedded import CannotStart, EmbeddedPostgres
from tests.fakes.model_server import ScriptedModel
from tests.fakes.own_redis import OwnRedis
from tests.fakes.postgres_programs import NoProgram, call, program
from tests.fakes.processes import ROOT, Process, Processes
from tests.fakes.wait import eventually_sync
from turnkeeper_client import AsyncClient

GIVEN = env_file(DEPLOY / "compose.env.example")
SECRETS = {name: f"{name.lower()}0123456789" for name in GIVEN if "PASSWORD" in name}


class Composed:
    """compose.yaml on servers of this machine: what `docker compose` would start, without the containers."""

    def __init__(self, processes: Processes, postgres: str, redis: str, port: int) -> None:
        self._processes = processes
        self._places = (make_url(postgres), make_url(redis))
        self._port = str(port)
        self.variables = {**GIVEN, **SECRETS, "API_PORT": str(port)}
        self.services = compose(self.variables)["services"]

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """The service's, with the names of compose's network put where the servers are."""
        given = self.services[name]["environment"]
        placed = {key: self._placed(str(value)) for key, value in given.items()}
        agents = ROOT / "examples/quickstart"
        return {**placed, "PYTHONPATH": str(agents), **more}

    def _placed(self, value: str) -> str:
        postgres, redis = self._places
        if value.startswith("postgresql://"):
            named = make_url(value)
            assert (named.host, named.database) == ("postgres", "turnkeeper")
            here = named.set(host=postgres.host, port=postgres.port, query=postgres.query)
            return here.render_as_string(hide_password=False)
        return value.replace("@redis:6379", f"@{redis.host}:{redis.port}")

    def start(self, name: str, **more: str) -> Process:
        """One process of a service, with the command that its image would run."""
        entry = json.loads([value for instruction, value in dockerfile() if instruction == "ENTRYPOINT"][-1])
        assert entry == ["turnkeeper"]
        command = words_of(self.services[name]["command"])
        if name == "api":  # the container's port, which is published as this one
            command[command.index("8700")] = self._port
        return self._processes(
            sys.executable, "-m", "turnkeeper", *command, env=self.environment(name, **more)
        )

    def run(self, name: str, *arguments: str, **more: str) -> str:
        """A command in a container of the service, as by `docker compose run`."""
        done = subprocess.run(
            [sys.executable, "-m", "turnkeeper", *arguments],
            env={**_bare(), **self.environment(name, **more)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TURNKEEPER")}


@pytest.fixture
def postgres() -> Iterator[str]:
    """A server of the test's own: the roles' names belong to the whole of it."""
    try:
        server = EmbeddedPostgres.start()
    except (CannotStart, ImportError) as reason:
        pytest.skip(f"no postgres server: {reason}")
    yield server.url
    server.stop()


@pytest.fixture
def composed(processes: Processes, postgres: str) -> Composed:
    """The servers as compose makes them: a database with what /docker-entrypoint-initdb.d does to it."""
    try:
        psql = program("psql", postgres)
    except NoProgram as reason:
        pytest.skip(f"NOT RUN: {reason}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Composed(processes, postgres, OwnRedis(processes, SECRETS["REDIS_PASSWORD"]).url, port)
    call(psql, "--no-psqlrc", "--command", "CREATE DATABASE turnkeeper", postgres)
    database = make_url(postgres).set(database="turnkeeper").render_as_string(hide_password=False)
    server = made.services["postgres"]
    scripts = sorted(
        (inside, DEPLOY / outside)
        for outside, inside, _ in (volume.split(":") for volume in server["volumes"] if "initdb" in volume)
    )
    for _, script in scripts:
        given = {name: str(value) for name, value in server["environment"].items()}
        options = ("--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file", str(script))
        call(psql, *options, database, env=given)
    return made


@pytest.mark.timeout(240)
async def test_what_compose_would_start_migrates_serves_and_completes_a_run(composed: Composed) -> None:
    async with ScriptedModel(answer=lambda _: replies.text("It leaves today.")) as model:
        at_model = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "test"}
        # twice at once, as by two who deploy
        jobs = [composed.start("migrate") for _ in range(2)]
        assert [await asyncio.to_thread(job.wait, 60) for job in jobs] == [0, 0]
        api = composed.start("api")
        count = int(composed.services["worker"]["deploy"]["replicas"])
        workers = [composed.start("worker", **at_model) for _ in range(count)]
        await asyncio.to_thread(api.wait_for_log, "HTTP API listens on")
        for worker in workers:
            await asyncio.to_thread(worker.wait_for_log, "Turnkeeper works on: support")
        await asyncio.to_thread(is_healthy, composed)
        key = made_key(composed)
        url = f"http://127.0.0.1:{composed.variables['API_PORT']}"
        async with AsyncClient(url, api_key=key) as client:
            readiness = await client.readiness()
            assert readiness.is_ready, readiness
            run = await client.enqueue("customer-42", "Where is order 7?", agent="support")
            assert (await run.wait(30)).output == "It leaves today."
        for process in (api, *workers):
            process.terminate()
        for process in (api, *workers):
            assert await asyncio.to_thread(process.wait, 30) == 0
            assert not any(secret in process.log for secret in SECRETS.values())


def is_healthy(composed: Composed) -> None:
    """Run the health check of the image, on the port that is published, until it passes."""
    check = [value for instruction, value in dockerfile() if instruction == "HEALTHCHECK"][-1]
    program_, *words = json.loads(check.partition(" CMD ")[2])
    assert program_ == "python"
    port = composed.variables["API_PORT"]
    argv = [sys.executable, *(word.replace(":8700/", f":{port}/") for word in words)]

    def passes() -> bool:
        return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0

    eventually_sync(passes)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
        assert answer.status == 200


def made_key(composed: Composed) -> str:
    """A key, made as the README says: as the operator."""
    url = composed.environment("api")["TURNKEEPER_DATABASE_URL"]
    as_operator = {"TURNKEEPER_DATABASE_URL": url.replace("turnkeeper_web", "turnkeeper_operator")}
    made = composed.run("api", "keys", "create", "ana", "--scope", "runs", **as_operator)
    return made.strip()
