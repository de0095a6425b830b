"""deploy/README.md, followed by a machine: the lines of the way with systemd, as they stand there.

Stand-ins play what wants root (`sudo`, `useradd`, `apt-get`, `systemctl`) or would install (`venv`, `pip`);
paths and ports are the test's own. PostgreSQL, Redis, psql, curl and openssl are real, as are our processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.fakes import replies
from tests.fakes.deploy import ROOT
from tests.fakes.embedded import CannotStart, EmbeddedPostgres
from tests.fakes.model_server import ScriptedModel
from tests.fakes.own_redis import OwnRedis
from tests.fakes.pages import blocks_of
from tests.fakes.postgres_programs import NoProgram, program
from tests.fakes.processes import Processes
from tests.fakes.systemctl import is_alive
from tests.fakes.wait import eventually, eventually_sync

PAGE = ROOT / "deploy/README.md"
SHIMS = {
    "sudo": 'while case "${1:-}" in -u) shift;; -*) ;; *) false;; esac; do shift; done; exec "$@"',
    "apt-get": "exit 0",
    "useradd": "exit 0",
    # the group is made by useradd, which is not played
    "install": 'kept=(); while [ $# -gt 0 ]; do case "$1" in --group|--owner) shift;; *) kept+=("$1");; '
    'esac; shift; done; exec {install} "${{kept[@]}}"',
    "python3": 'if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp {shims}/venv/* "$3/bin/"; '
    'else exec {python} "$@"; fi',
    "venv/pip": "exit 0",
    "venv/turnkeeper": 'exec {python} -m turnkeeper "$@"',
    "createdb": 'PGHOST={socket} PGUSER=postgres exec {createdb} "$@"',
    "psql": 'PGHOST={socket} PGUSER=postgres exec {psql} --no-psqlrc "$@"',
    "systemctl": 'exec {python} -m tests.fakes.systemctl "$@"',
}


def steps() -> str:
    """The lines of the way with systemd, and those by which it is watched."""
    text = PAGE.read_text(encoding="utf-8")
    sections = [
        text.partition(f"## {title}\n")[2].partition("\n## ")[0]
        for title in ("One machine with systemd", "Observe it")
    ]
    shell = [block.text for block in blocks_of(PAGE) if block.language == "sh"]
    blocks = [block for section in sections for block in shell if block in section]
    assert len(blocks) == 8, "a step of the page is not run"
    return "".join(blocks)


def ports_in_a_row(count: int) -> int:
    """The first of so many ports that are free now."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            for more in range(1, count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + more))
            return port


class Machine:
    """An empty machine in a folder, with servers of the test's own."""

    def __init__(self, folder: Path, postgres: str, redis: str) -> None:
        self.folder = folder
        self.units = folder / "etc/systemd/system"
        self.units.mkdir(parents=True)
        socket_folder = str(make_url(postgres).query["host"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._moved = {
            "/opt/turnkeeper": f"{folder}/opt/turnkeeper",
            "/etc/turnkeeper": f"{folder}/etc/turnkeeper",
            "/etc/systemd/": f"{folder}/etc/systemd/",
            "/srv/turnkeeper": f"{folder}/srv/turnkeeper",
            "@127.0.0.1:5432/turnkeeper": f"@/turnkeeper?host={socket_folder}",
            "127.0.0.1:6379": f"127.0.0.1:{make_url(redis).port}",
            "8700": str(self.port),
            # of the API, and those of the workers after it
            "9463": str(ports_in_a_row(3)),
        }
        self.database = make_url(postgres).set(database="turnkeeper").render_as_string(hide_password=False)
        self._make_shims(socket_folder, postgres)
        self._check_out()

    def moved(self, text: str) -> str:
        """The text with this machine's paths and ports."""
        for here, there in self._moved.items():
            text = text.replace(here, there)
        return text

    def _make_shims(self, socket_folder: str, postgres: str) -> None:
        shims = self.folder / "shims"
        (shims / "venv").mkdir(parents=True)
        named = {
            "shims": str(shims),
            "python": sys.executable,
            "socket": socket_folder,
            "install": str(shutil.which("install")),
            **{name: str(program(name, postgres)) for name in ("psql", "createdb")},
        }
        for name, body in SHIMS.items():
            script = body.format(**named) if "{python}" in body or "exec {" in body else body
            (shims / name).write_text(f"#!{shutil.which('bash')}\n{script}\n", encoding="utf-8")
            (shims / name).chmod(0o755)

    def _check_out(self) -> None:
        shutil.copytree(ROOT / "deploy", self.folder / "checkout/deploy")
        shutil.copytree(ROOT / "examples/quickstart", self.folder / "checkout/examples/quickstart")
        for unit in (self.folder / "checkout/deploy/systemd").iterdir():
            unit.write_text(self.moved(unit.read_text(encoding="utf-8")), encoding="utf-8")

    def type_in(self, lines: str, **env: str) -> str:
        """What a shell writes that is given the lines; AssertionError when one of them fails."""
        bare = {
            name: value for name, value in os.environ.items() if not name.startswith(("TURNKEEPER", "PG"))
        }
        given = {
            "PATH": f"{self.folder}/shims:{os.environ['PATH']}",
            # our program and the stand-ins, in place of what is installed
            "PYTHONPATH": str(ROOT),
            "FAKE_SYSTEMD": str(self.units),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.moved(lines)],
            cwd=self.folder / "checkout",
            env={**bare, **given, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=220,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        """What its units wrote."""
        return "\n".join(f"--- {log.name}\n{log.read_text()}" for log in self.units.glob("*.log"))

    def end(self) -> None:
        """End what its units started."""
        pids = [int(file.read_text()) for file in self.units.glob("*.pid")]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in filter(is_alive, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(AssertionError):
                eventually_sync(lambda: not any(map(is_alive, pids)), within=20)


@pytest.fixture
def machine(processes: Processes, tmp_path: Path) -> Iterator[Machine]:
    missing = [name for name in ("bash", "curl", "openssl", "install") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"NOT RUN: there is no {', '.join(missing)} on this machine")
    try:
        server = EmbeddedPostgres.start()
    except (CannotStart, ImportError) as reason:
        pytest.skip(f"no postgres server: {reason}")
    try:
        made = Machine(tmp_path, server.url, OwnRedis(processes).url)
        yield made
        made.end()
    except NoProgram as reason:
        pytest.skip(f"NOT RUN: {reason}")
    finally:
        server.stop()


@pytest.mark.timeout(240)
async def test_who_follows_the_page_has_a_system_that_completes_runs(machine: Machine) -> None:
    async with ScriptedModel(answer=lambda _: replies.text("It leaves today.")) as model:
        # a second line for the worker's file: the page's reader speaks to OpenAI
        key = f"test\nOPENAI_BASE_URL={model.base_url}"
        written = await asyncio.to_thread(machine.type_in, steps(), OPENAI_API_KEY=key)
        lines = written.splitlines()
        assert '"status":"ready"' in written.replace(" ", "")
        told = {
            line.split()[1]: line.split()[0] for line in lines if line[:5].strip() in ("ok", "warn", "fail")
        }
        assert {"database", "migrations", "recovery", "broker", "redis", "model"} <= set(told)
        assert set(told.values()) == {"ok"}
        read = json.JSONDecoder().raw_decode  # curl ends no line
        run = next(read(line)[0] for line in lines if line.startswith("{") and '"session_id"' in line)
        assert "turnkeeper_cluster_up 1.0" in lines

        def completed() -> bool:
            with psycopg.connect(machine.database) as connection:
                asked = "SELECT status, output FROM turnkeeper_runs WHERE id = %s"
                return connection.execute(asked, [run["id"]]).fetchone() == (
                    "completed",
                    '"It leaves today."',
                )

        await eventually(completed, within=30)
    assert len(list(machine.units.glob("turnkeeper-worker@?.service.pid"))) == 2
    secret = machine.folder / "etc/turnkeeper/worker.env"
    assert secret.stat().st_mode & 0o777 == 0o640
    password = secret.read_text().partition("turnkeeper_worker:")[2].partition("@")[0]
    assert len(password) == 48
    assert password not in written + machine.logs()
