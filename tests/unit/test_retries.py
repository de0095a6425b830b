"""When a model call is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from turnkeeper_worker.models.base import ModelError
from turnkeeper_worker.models.retries import backoff, is_retryable, retry_after

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def passing(seconds: float | None = None) -> ModelError:
    return ModelError("x", "x", retryable=True, retry_after=seconds)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_statuses_that_pass_are_retried(status: int) -> None:
    assert is_retryable(status, {})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_statuses_that_stay_are_not(status: int) -> None:
    assert not is_retryable(status, {})


def test_the_server_has_the_last_word_on_retries() -> None:
    assert is_retryable(400, {"x-should-retry": "true"})
    assert not is_retryable(500, {"x-should-retry": "false"})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=9), usegmt=True)}, 9.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=9), usegmt=True)}, None),
        ({"retry-after": "Tue, 01 Jan 2030 00:00:05 -0000"}, 5.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "tomorrow"}, None),
    ],
)
def test_a_wait_is_read_from_the_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_delays_grow_to_a_limit() -> None:
    delays = [backoff(attempt, passing(), lambda: 0.0) for attempt in range(6)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert backoff(100_000, passing(), lambda: 0.0) == 8.0


def test_chance_shortens_a_delay_by_a_quarter_at_most() -> None:
    assert backoff(0, passing(), lambda: 1.0) == 0.375


def test_a_wait_that_the_server_asks_for_is_never_cut_short() -> None:
    assert backoff(0, passing(20.0), lambda: 0.0) == 20.0
    assert backoff(0, passing(20.0), lambda: 1.0) == 20.25


def test_a_server_that_asks_for_minutes_is_not_waited_for() -> None:
    assert backoff(0, passing(61.0), lambda: 0.0) is None


def test_an_error_that_stays_is_not_tried_again() -> None:
    assert backoff(0, ModelError("x", "x", retry_after=1.0), lambda: 0.0) is None
