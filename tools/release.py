"""`python -m tools.release`: build sdist and wheel, check both, and try them in new environments.

Everything goes to dist/, nothing leaves the machine. A Python that is not here is told, and skipped;
with none at all it fails. `--python 3.12` tries that one only, and may be repeated.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from turnkeeper_storage.version import __version__

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = "worker,api,http,postgres,encryption"
SECONDS = 600.0


class Refused(Exception):
    """Why this is no release."""


def check_changelog(text: str, version: str) -> str | None:
    """Make sure that the changelog has a section of this version; a warning when it is not dated yet.

    Raises Refused.
    """
    if re.search(rf"(?m)^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", text):
        return None
    if f"\n## Unreleased ({version})\n" in text:
        return f"CHANGELOG.md calls {version} unreleased: write `## {version} (YEAR-MONTH-DAY)` to publish"
    raise Refused(f"CHANGELOG.md has no section `## {version} (YEAR-MONTH-DAY)`")


def find_python(version: str) -> Path | None:
    """An interpreter of that version which answers: of the path, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = shutil.which(f"python{version}")
    for candidate in [named, *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)]:
        if candidate is not None and _answers(candidate, version):
            return Path(candidate)
    return None


def _answers(candidate: str | Path, version: str) -> bool:
    # a shim of pyenv may be there for a version that is not chosen, and has no venv where Debian cut it off
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    told = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    return told.stdout.strip() == version


def call(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command with nothing of ours in its environment. Raises Refused with its output."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "TURNKEEPER_", "OPENAI_", "CELERY_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if done.returncode:
        raise Refused(f"{' '.join(str(part) for part in command)}\n{done.stdout}")


def build() -> list[Path]:
    """The sdist, and the wheel that is built out of it. Raises Refused."""
    shutil.rmtree(DIST, ignore_errors=True)
    call(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    made = [DIST / f"turnkeeper-{__version__}.tar.gz", DIST / f"turnkeeper-{__version__}-py3-none-any.whl"]
    if sorted(DIST.iterdir()) != sorted(made):
        raise Refused(f"dist/ has {sorted(file.name for file in DIST.iterdir())}")
    call(sys.executable, "-m", "twine", "check", "--strict", *made)
    return made


def try_out(python: Path, file: Path) -> None:
    """Install a file into a new environment, and use it from elsewhere. Raises Refused."""
    with tempfile.TemporaryDirectory(prefix="turnkeeper-release-") as folder:
        place = Path(folder)
        call(python, "-m", "venv", place / "venv", cwd=place)
        inside = place / "venv" / "bin" / "python"
        pip = (inside, "-m", "pip", "--quiet", "--disable-pip-version-check")
        call(*pip, "install", "--constraint", ROOT / "constraints.txt", f"{file}[{EXTRAS}]", cwd=place)
        call(*pip, "check", cwd=place)
        smoke = shutil.copy(ROOT / "tools" / "smoke.py", place)
        call(inside, "-W", "error::DeprecationWarning:turnkeeper", smoke, __version__, cwd=place)


def release(pythons: Sequence[str]) -> None:
    """All of it. Raises Refused."""
    warning = check_changelog((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), __version__)
    made = build()
    print(
        f"release: {', '.join(file.name for file in made)}: built, and twine has nothing against them",
        flush=True,
    )
    tried = 0
    for version in pythons:
        python = find_python(version)
        if python is None:
            print(
                f"release: SKIPPED: Python {version} is not on this machine; nothing was tried on it",
                flush=True,
            )
            continue
        for file in made:
            try_out(python, file)
            print(f"release: {file.name} works on Python {version}", flush=True)
            tried += 1
    if not tried:
        raise Refused(f"none of Python {', '.join(pythons)} is on this machine")
    if warning:
        print(f"release: NOT YET: {warning}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("--python", action="append", metavar="VERSION", help=f"default: {', '.join(PYTHONS)}")
    given = parser.parse_args(arguments)
    try:
        release(given.python or PYTHONS)
    except Refused as reason:
        print(f"release: REFUSED: {reason}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
