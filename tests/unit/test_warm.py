"""Processes that start warm are as those that start cold."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.processes import Processes
from tests.fakes.warm import IS_POSSIBLE, WarmStarter

GUEST = "tests.fakes.warm_guest"
HOW = [
    "cold",
    pytest.param("warm", marks=pytest.mark.skipif(not IS_POSSIBLE, reason="not Linux: all start cold")),
]


@pytest.fixture(params=HOW)
def started(request: pytest.FixtureRequest, tmp_path: Path, warm: WarmStarter | None) -> Iterator[Processes]:
    """Starts processes in one of the two ways."""
    started = Processes(tmp_path, warm=warm if request.param == "warm" else None)
    yield started
    started.end_all()


def test_it_has_its_arguments_its_environment_and_a_group_of_its_own(
    started: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TEST", "inherited")
    guest = started(sys.executable, "-m", GUEST, "0", "two words", env={"ITS_OWN": "given"})
    assert guest.wait(20) == 0
    told = json.loads(guest.log.splitlines()[0])
    assert told["arguments"] == ["0", "two words"]
    assert (told["environment"]["OF_THE_TEST"], told["environment"]["ITS_OWN"]) == ("inherited", "given")
    assert told["leads"]
    assert "and this to standard error" in guest.log


def test_its_return_code_is_told(started: Processes) -> None:
    guests = [started(sys.executable, "-m", GUEST, str(code)) for code in (0, 3)]
    assert [guest.wait(20) for guest in guests] == [0, 3]
    assert [guest.returncode for guest in guests] == [0, 3]


def test_an_error_is_in_its_log_and_ends_it_with_one(started: Processes) -> None:
    guest = started(sys.executable, "-m", GUEST, "no number")
    assert guest.wait(20) == 1
    assert "ValueError: invalid literal for int()" in guest.log


def test_a_signal_that_ended_it_is_told(started: Processes) -> None:
    guest = started(sys.executable, "-m", GUEST, "never")
    guest.wait_for_log("standard error")
    assert guest.returncode is None
    guest.kill9()
    assert guest.returncode == -signal.SIGKILL


def test_ctrl_c_ends_it_as_any_program_in_python(started: Processes) -> None:
    guest = started(sys.executable, "-m", GUEST, "never")
    guest.wait_for_log("standard error")
    guest._signal(signal.SIGINT)
    assert guest.wait(20) == -signal.SIGINT
    assert "KeyboardInterrupt" in guest.log
