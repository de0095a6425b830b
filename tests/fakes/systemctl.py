"""A stand-in for `systemctl` that starts units as systemd would, without its sandbox.

FAKE_SYSTEMD: a folder with the units, in which it keeps the numbers of its processes and their logs.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.fakes.wait import eventually_sync

PATIENCE = 40.0


def main(arguments: list[str]) -> int:
    """Do what the arguments say; the exit code."""
    folder = Path(os.environ["FAKE_SYSTEMD"])
    verb, *names = [one for one in arguments if not one.startswith("--")]
    match verb:
        case "daemon-reload":
            return 0
        case "start" | "enable":
            return max(start(folder, name) for name in names)
        case "restart":
            for name in names:
                stop(folder, name)
            return max(start(folder, name) for name in names)
    sys.stderr.write(f"systemctl: {verb} is not played here\n")
    return 2


def start(folder: Path, name: str) -> int:
    """Start a unit; a oneshot is waited for."""
    template = name.partition("@")[0] + "@.service" if "@" in name else name
    unit = folder / template
    if not unit.exists():
        sys.stderr.write(f"systemctl: there is no {template}\n")
        return 5
    if name.endswith(".target"):
        return 0
    instance = name.partition("@")[2].removesuffix(".service")
    said = [(key, value.replace("%i", instance)) for key, value in _pairs(unit)]
    values = dict(said)
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            shlex.split(values["ExecStart"]),
            env=_environment(said),
            cwd=values["WorkingDirectory"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    if values["Type"] == "oneshot":
        return process.wait(PATIENCE)
    (folder / f"{name}.pid").write_text(str(process.pid))
    return 0


def _environment(said: list[tuple[str, str]]) -> dict[str, str]:
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    for key, value in said:
        if key == "EnvironmentFile":
            file = Path(value.removeprefix("-"))
            if file.exists() or not value.startswith("-"):
                environment |= dict(_pairs(file))
        elif key == "Environment":
            environment |= dict(pair.split("=", 1) for pair in shlex.split(value))
    return environment


def _pairs(file: Path) -> list[tuple[str, str]]:
    """The lines `name=value` of a file; the same name may come again."""
    lines = [line.partition("=") for line in file.read_text().splitlines() if line[:1] not in ("", "#", "[")]
    return [(name, value) for name, _, value in lines]


def stop(folder: Path, name: str) -> None:
    """SIGTERM to a unit's process, and wait for its end."""
    pid = int((folder / f"{name}.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    eventually_sync(lambda: not is_alive(pid), within=PATIENCE)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
