"""Lines of logs: JSON and text, the run that they are about, and what never stands in them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from turnkeeper.telemetry.log_lines import JsonLines, TextLines, exception_text
from turnkeeper.telemetry.logs import NEVER_DEBUG, dress, keep_bodies_out
from turnkeeper_storage.errors import DatabaseUnavailable
from turnkeeper_storage.log_context import RunPlace, run_place, working_on

PLACE = RunPlace("acme", "customer-42", "run_1", 3, "ab" * 16)


class Kept(logging.Handler):
    """Keeps the lines that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    logger = logging.getLogger("turnkeeper_test")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


LOG = logging.getLogger("turnkeeper_test")


def stumble() -> None:
    raise ValueError("a secret that nobody may read")


def test_a_line_of_json_says_where_it_comes_from(kept: Kept) -> None:
    dress([kept], "json")
    LOG.warning("lease %s", "lost", extra={"epoch": 7})
    line = json.loads(kept.lines[0])
    assert line["time"].endswith("+00:00")
    assert (line["level"], line["logger"], line["message"]) == ("warning", "turnkeeper_test", "lease lost")
    assert line["epoch"] == 7
    assert "run_id" not in line


def test_what_other_libraries_add_to_a_record_is_left_out() -> None:
    record = logging.makeLogRecord({"name": "celery.app.trace", "msg": "done", "data": {"args": "secret"}})
    assert "secret" not in JsonLines().format(record)


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_line_within_a_run_says_which_and_one_outside_does_not(kept: Kept, format: str) -> None:
    dress([kept], format)  # type: ignore[arg-type]
    with working_on(PLACE):
        LOG.info("within")
    LOG.info("outside")
    within, outside = kept.lines
    for word in ("acme", "customer-42", "run_1", "ab" * 16):
        assert word in within
        assert word not in outside


async def test_tasks_and_threads_of_a_run_are_within_it_and_see_its_turn() -> None:
    place = RunPlace("acme", "s", "run_1", 1, None)

    async def turn() -> int:
        found = run_place()
        assert found is not None
        return found.turn

    with working_on(place):
        task = asyncio.create_task(turn())
        place.turn = 2
        assert await task == 2
        found = await asyncio.to_thread(run_place)
    assert found is place
    assert run_place() is None
    assert "trace_id" not in place.fields()


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_traceback_has_types_and_places_and_no_messages(kept: Kept, format: str) -> None:
    dress([kept], format)  # type: ignore[arg-type]
    try:
        try:
            stumble()
        except ValueError as error:
            raise DatabaseUnavailable("no answer") from error
    except DatabaseUnavailable:
        LOG.exception("it failed")
    text = kept.lines[0]
    assert "ValueError" in text
    assert "test_log_lines.py:" in text
    assert "stumble" in text
    assert "secret" not in text
    # ours are written for people, and hold no contents
    assert "no answer" in text


def test_a_line_is_one_line_of_json_whatever_it_says() -> None:
    line = JsonLines().format(
        logging.makeLogRecord({"name": "shop", "msg": "two\nlines and half a pair: \ud800"})
    )
    assert "\n" not in line
    assert line.encode()
    assert json.loads(line)["message"] == "two\nlines and half a pair: \ud800"


def test_errors_that_lead_to_each_other_end() -> None:
    one, other = ValueError("a"), KeyError("b")
    one.__cause__, other.__cause__ = other, one
    assert exception_text(one) == "ValueError\ncaused by KeyError"


def test_a_handler_is_dressed_once(kept: Kept) -> None:
    kept.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    dress([kept], "text")
    dress([kept], "text")
    assert isinstance(kept.formatter, TextLines)
    with working_on(PLACE):
        LOG.info("once")
    assert kept.lines[0].count("run_1") == 1
    assert kept.lines[0].startswith("[INFO] once")


def test_libraries_that_log_bodies_never_log_at_debug() -> None:
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in NEVER_DEBUG}
    level = root.level
    try:
        root.setLevel(logging.DEBUG)
        keep_bodies_out()
        assert not any(logging.getLogger(name).isEnabledFor(logging.DEBUG) for name in NEVER_DEBUG)
        for name in NEVER_DEBUG:
            logging.getLogger(name).setLevel(logging.NOTSET)
        root.setLevel(logging.ERROR)
        keep_bodies_out()
        assert not any(logging.getLogger(name).isEnabledFor(logging.INFO) for name in NEVER_DEBUG)
    finally:
        root.setLevel(level)
        for name, was in before.items():
            logging.getLogger(name).setLevel(was)
