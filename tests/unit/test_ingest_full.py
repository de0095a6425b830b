"""A job whose queue is full, when its broker cannot take it again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from celery.exceptions import Reject

from turnkeeper_storage.errors import QueueFull
from turnkeeper_worker.ingest import _put_off


@dataclass
class Request:
    id: str = "job-1"
    retries: int = 0


@dataclass
class Unpublishable:
    """What Celery's task does when the broker does not take the message: it would drop the job."""

    request: Request = field(default_factory=Request)

    def retry(self, *, exc: Exception, countdown: float) -> Exception:
        raise Reject(exc, requeue=False)


def test_a_job_that_cannot_be_published_anew_goes_back_and_is_not_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Reject) as given_back:
        _put_off(Unpublishable(), QueueFull("session", "s", 1))
    assert given_back.value.requeue
    assert "job job-1 waits: session 's' has 1 queued runs" in caplog.text
