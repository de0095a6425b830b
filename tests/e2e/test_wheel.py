"""The wheel alone, in a virtual environment elsewhere: what is in it, and that the demo runs from it.

`make release` does the same with sdist and wheel, and with the dependencies installed anew, on each Python.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from turnkeeper_storage.version import __version__

ROOT = Path(__file__).parents[2]
PACKAGES = ("turnkeeper", "turnkeeper_api", "turnkeeper_client", "turnkeeper_storage", "turnkeeper_worker")


def run(*argv: str | Path, cwd: Path, seconds: float = 120.0) -> str:
    """The output of a command that must succeed, with nothing of this checkout in its environment."""
    named = ("PYTHONPATH", "VIRTUAL_ENV", "TURNKEEPER_", "OPENAI_", "CELERY_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(named)}
    done = subprocess.run(
        [str(part) for part in argv],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--quiet", "-w", folder, cwd=folder)
    (built,) = folder.glob("turnkeeper-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that has the wheel; its dependencies are those installed here."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    made = folder / "venv" / "bin" / "python"
    site = Path(run(made, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    run(sys.executable, "-m", "pip", "--python", made, "install", "--no-deps", "--quiet", wheel, cwd=folder)
    # As a path only: the .pth files over there, and with them the editable checkout, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def test_the_wheel_has_what_is_no_code_and_nothing_that_is_not_ours(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"{package}/py.typed" for package in PACKAGES}
    wanted |= {
        f"turnkeeper_storage/migrations/{name}"
        for name in ("env.py", "script.py.mako", "versions/v0001_first_tables.py")
    }
    assert wanted <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for part in ("api_client", "storage", "worker"):
        here = {
            path.relative_to(ROOT / part).as_posix()
            for package in PACKAGES
            for path in (ROOT / part / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert here <= names


def test_an_index_would_take_the_wheel(wheel: Path) -> None:
    assert wheel.name == f"turnkeeper-{__version__}-py3-none-any.whl"
    assert "PASSED" in run(sys.executable, "-m", "twine", "check", "--strict", wheel, cwd=wheel.parent)


def test_what_a_release_is_tried_with_passes_on_the_wheel(python: Path, tmp_path: Path) -> None:
    """Its packages are its own, the version is told, a new database is migrated, a run is worked off."""
    smoke = shutil.copy(ROOT / "tools" / "smoke.py", tmp_path)
    run(python, smoke, __version__, cwd=tmp_path)


def test_what_a_release_is_tried_with_notices_another_version(python: Path, tmp_path: Path) -> None:
    smoke = shutil.copy(ROOT / "tools" / "smoke.py", tmp_path)
    with pytest.raises(AssertionError, match=re.escape(__version__)):
        run(python, smoke, "9.9.9", cwd=tmp_path)


def test_the_demo_runs_from_the_wheel(python: Path, tmp_path: Path) -> None:
    output = run(python.with_name("turnkeeper"), "demo", cwd=tmp_path, seconds=90)
    assert "12 messages accepted, 12 answered, 0 left over" in output
    assert "nothing lost, nothing doubled" in output
