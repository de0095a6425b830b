"""What an import costs: a web backend that wants `Client` pays for no worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

import turnkeeper

HEAVY = ("openai", "aiohttp", "celery", "kombu", "turnkeeper_worker", "typer", "rich")


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import turnkeeper",
        "from turnkeeper import Client, AsyncClient, RunSnapshot, InvalidInput, SQLAlchemySession, Settings",
        "from turnkeeper import Client; Client(database_url='sqlite:///x.db')",
    ],
)
def test_a_client_loads_nothing_of_a_worker(statement: str) -> None:
    done = _python(f"{statement}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_face_alone_loads_nothing_at_all() -> None:
    done = _python("import turnkeeper, sys\nprint('sqlalchemy' in sys.modules)")
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", turnkeeper.__all__)
def test_every_name_of_the_face_is_there(name: str) -> None:
    assert getattr(turnkeeper, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        turnkeeper.Nonsense  # noqa: B018


@pytest.mark.parametrize("name", ["Agent", "Turnkeeper", "tool"])
def test_a_missing_extra_is_named(name: str) -> None:
    # what None stands for in sys.modules cannot be imported
    done = _python(
        "import sys\nsys.modules['griffe'] = None\nimport turnkeeper\n"
        f"try:\n    turnkeeper.{name}\nexcept ImportError as error:\n    print(error)\n"
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"turnkeeper.{name} needs griffe")
    assert "pip install 'turnkeeper[worker]'" in done.stdout
