"""What a worker logs of messages that it cannot take. Celery's own code logs them here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from celery.exceptions import InvalidTaskError
from celery.worker.consumer import consumer
from celery.worker.consumer.consumer import Consumer
from kombu.exceptions import DecodeError

from turnkeeper_worker.message_logs import WithoutContents, hide_contents

SECRET = "zyzzogeton"
Report = Callable[[Any, Any], None]


def unknown(taker: Any, message: Any) -> None:
    Consumer.on_unknown_message(taker, {"input": SECRET}, message)


def unknown_task(taker: Any, message: Any) -> None:
    Consumer.on_unknown_task(taker, None, message, KeyError("turnkeeper.rum"))


def invalid(taker: Any, message: Any) -> None:
    Consumer.on_invalid_task(taker, None, message, InvalidTaskError("a task has to have arguments"))


def unreadable(taker: Any, message: Any) -> None:
    error = UnicodeDecodeError("utf-8", f"{{{SECRET}".encode(), 0, 1, "invalid start byte")
    Consumer.on_decode_error(taker, message, DecodeError(error))


@pytest.fixture
def message() -> Any:
    """A message with something in its body and in its headers that no log may tell."""
    return MagicMock(
        body=f'[[], {{"input": "{SECRET}"}}, {{}}]',
        headers={"id": "job-1", "task": "turnkeeper.rum", "kwargsrepr": f"{{'input': '{SECRET}'}}"},
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": "turnkeeper.ingest"},
        properties={},
    )


@pytest.fixture
def taker() -> Any:
    """What those methods use of Celery's consumer."""
    return SimpleNamespace(
        connection_errors=(),
        app=MagicMock(),
        event_dispatcher=None,
        _message_report=lambda body, message: Consumer._message_report(MagicMock(), body, message),
    )


@pytest.fixture
def hidden() -> Iterator[None]:
    """The filter is there, and goes with the test."""
    logger = logging.getLogger(consumer.__name__)
    before = list(logger.filters)
    hide_contents()
    yield
    logger.filters[:] = before


REPORTS = {
    unknown: "it is no task; is it for another queue?",
    unknown_task: "no task 'turnkeeper.rum' is known to this worker (message job-1)",
    invalid: "InvalidTaskError: a task has to have arguments",
    unreadable: "its body cannot be read (DecodeError, application/json, utf-8)",
}


@pytest.mark.parametrize("report", REPORTS)
def test_celery_alone_would_log_what_a_message_says(
    report: Report, taker: Any, message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    report(taker, message)
    assert SECRET in caplog.text


@pytest.mark.parametrize(("report", "line"), REPORTS.items())
def test_a_message_that_cannot_be_taken_is_told_without_what_it_says(
    report: Report, line: str, taker: Any, message: Any, hidden: None, caplog: pytest.LogCaptureFixture
) -> None:
    report(taker, message)
    assert SECRET not in caplog.text
    assert [record.getMessage() for record in caplog.records] == [f"a message was thrown away: {line}"]


def test_whatever_else_the_consumer_says_is_left_as_it_is(
    hidden: None, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger(consumer.__name__).warning("lost %s of %d", "one", 2)
    assert [record.getMessage() for record in caplog.records] == ["lost one of 2"]


def test_hiding_twice_is_hiding_once(hidden: None) -> None:
    hide_contents()
    filters = logging.getLogger(consumer.__name__).filters
    assert [type(present) for present in filters].count(WithoutContents) == 1
