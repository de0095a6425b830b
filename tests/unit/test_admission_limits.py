"""What an enqueue may say of its limits, and what of it belongs to the request's digest."""

from __future__ import annotations

import math
from typing import Any

import pytest

from turnkeeper_storage.admission import EnqueueRequest, new_run
from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.model import NewRun


def admitted(*, setting: float | None = None, **options: Any) -> NewRun:
    request = EnqueueRequest("s", "hello", "support", **options)
    return new_run(request, tenant="default", max_input_bytes=1_000, deadline_seconds=setting)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "is 0"),
        (-1.5, "is -1.5"),
        (math.nan, "is nan"),
        (math.inf, "is inf"),
        (1e12, "is 1e+12"),
        (True, "is bool"),
        ("60", "is str"),
    ],
)
def test_a_deadline_that_cannot_be_is_refused_with_the_remedy(value: Any, told: str) -> None:
    with pytest.raises(InvalidInput, match="deadline_seconds: ") as caught:
        admitted(deadline_seconds=value)
    assert told in str(caught.value)
    assert "use seconds" in str(caught.value)


def test_a_run_that_says_nothing_takes_the_settings_deadline_and_its_own_goes_first() -> None:
    assert admitted().deadline_seconds is None
    assert admitted(setting=60.0).deadline_seconds == 60
    assert admitted(setting=60.0, deadline_seconds=5).deadline_seconds == 5


def test_the_digest_holds_what_was_asked_for_and_not_the_setting() -> None:
    plain = admitted()
    assert admitted(setting=60.0).input_digest == plain.input_digest
    assert admitted(deadline_seconds=60).input_digest == admitted(deadline_seconds=60.0).input_digest
    assert admitted(deadline_seconds=60).input_digest != plain.input_digest
