"""deploy/systemd: units that systemd takes, with commands and settings that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.fakes.deploy import DEPLOY, MARGIN, seconds, unit
from tests.unit.test_docs import parse
from turnkeeper.cli.main import app as command_line
from turnkeeper_storage.settings import Settings

FOLDER = DEPLOY / "systemd"
SERVICES = sorted(file.name for file in FOLDER.glob("*.service"))
PROGRAM = "/opt/turnkeeper/bin/turnkeeper"
# of 10; what is left is that it speaks to a network
EXPOSURE = 20


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("NOT VERIFIED: there is no systemd-analyze on this machine")
    return found


def test_systemd_takes_the_units(analyze: str, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("turnkeeper")
    for file in FOLDER.iterdir():
        # the program is where the README puts it, and that is not here
        text = file.read_text(encoding="utf-8").replace(PROGRAM, str(program))
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [analyze, "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "turnkeeper" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_exposed_to_little(analyze: str, name: str) -> None:
    command = [analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_a_command_that_there_is_as_nobody_special(name: str) -> None:
    service = unit(name)["Service"]
    (command,) = service["ExecStart"]
    program, *words = command.split()
    assert program == PROGRAM
    parse(typer.main.get_command(command_line), words)
    assert service["User"] == service["Group"] == ["turnkeeper"]
    # no shell: signals reach the process itself
    assert not re.search(r"[|;&$]", command)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_reads_its_secrets_from_files_of_its_own_role(name: str) -> None:
    role = {"migrate": "migrate", "api": "web", "worker@": "worker"}[
        name.removeprefix("turnkeeper-").removesuffix(".service")
    ]
    files = unit(name)["Service"]["EnvironmentFile"]
    own = [f"-/etc/turnkeeper/{name.removesuffix('.service').replace('@', '@%i')}.env"]
    assert files[:2] == ["/etc/turnkeeper/turnkeeper.env", f"/etc/turnkeeper/{role}.env"]
    # a migration is one process, and the others may have something of their own, as a port
    assert files[2:] == ([] if role == "migrate" else own)


def test_a_worker_has_its_grace_time_and_some_more_before_it_is_killed() -> None:
    service = unit("turnkeeper-worker@.service")["Service"]
    given = seconds(service["TimeoutStopSec"][0])
    assert given >= Settings.model_fields["grace_seconds"].default + MARGIN
    assert service["KillMode"] == ["mixed"]
    assert service["Restart"] == ["always"]


def test_all_begin_after_the_migration_and_end_with_the_target() -> None:
    for name in ("turnkeeper-api.service", "turnkeeper-worker@.service"):
        section = unit(name)["Unit"]
        assert "turnkeeper-migrate.service" in section["After"][0].split()
        assert section["PartOf"] == ["turnkeeper.target"]
        assert unit(name)["Install"]["WantedBy"] == ["turnkeeper.target"]
