"""deploy/Dockerfile: what a linter finds, and what an image without root and a writable disk needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.fakes.api import api_of
from tests.fakes.deploy import DEPLOY, ROOT, dockerfile


def test_the_linter_finds_nothing() -> None:
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("no hadolint: its wheel is for Linux; pip install --group test")
    done = subprocess.run(
        [found, DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def last(name: str) -> str:
    return [value for instruction, value in dockerfile() if instruction == name][-1]


def test_it_runs_as_a_number_that_is_not_root() -> None:
    assert last("USER") == "10001:10001"


def test_signals_reach_the_process_itself() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["turnkeeper"]
    assert json.loads(last("CMD"))


def test_it_is_built_in_two_stages_and_the_second_has_only_what_was_installed() -> None:
    stages = [value for instruction, value in dockerfile() if instruction == "FROM"]
    assert [stage.partition(" AS ")[2] for stage in stages] == ["build", ""]
    copied = [value for instruction, value in dockerfile() if instruction == "COPY"]
    assert copied[-1] == "--from=build /opt/turnkeeper /opt/turnkeeper"
    assert [one for one in copied if one.startswith("--from")] == [copied[-1]]


def test_it_installs_extras_that_there_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (install,) = [value for instruction, value in dockerfile() if "install" in value and instruction == "RUN"]
    wanted = json.loads(install)[-1].removeprefix(".[").removesuffix("]").split(",")
    assert set(wanted) <= set(project["optional-dependencies"])
    assert {"worker", "api", "postgres"} <= set(wanted)
    supported = project["requires-python"].removeprefix(">=")
    assert tuple(map(int, _version().split("."))) >= tuple(map(int, supported.split(".")))


def _version() -> str:
    return dockerfile()[0][1].removeprefix("python:").partition("-")[0]


def test_all_that_the_build_copies_is_let_through_and_is_there() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    sources = {
        source.removeprefix("./")
        for instruction, value in dockerfile()
        if instruction == "COPY" and not value.startswith("--from")
        for source in value.split()[:-1]
    }
    assert sources == let_through
    assert all((ROOT / source).exists() for source in sources)


async def test_the_health_check_asks_a_route_that_there_is(migrated_sqlite: str) -> None:
    asked = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])[-1]
    async with api_of(migrated_sqlite) as app:
        paths = {getattr(route, "path", "") for route in app.routes} | set(app.openapi()["paths"])
    assert [path for path in paths if path and f":8700{path}'" in asked] == ["/livez"]
    assert last("EXPOSE") == "8700"
