"""When the wake queue is left, and when it is joined again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper_worker.slots import QueueChange, Slots


@pytest.mark.parametrize(
    ("total", "used", "expected"),
    [
        (1, 0, None),
        (1, 1, QueueChange.PAUSE),
        (2, 0, None),
        (2, 1, QueueChange.PAUSE),
        (1000, 998, None),
        (1000, 999, QueueChange.PAUSE),
        (1000, 1000, QueueChange.PAUSE),
    ],
)
def test_the_queue_is_left_at_the_last_free_slot(total: int, used: int, expected: QueueChange | None) -> None:
    assert Slots(total, used).decide() is expected


@pytest.mark.parametrize(
    ("total", "used", "expected"),
    [
        (1, 1, None),
        (1, 0, QueueChange.RESUME),
        (2, 1, None),
        (2, 0, QueueChange.RESUME),
        (1000, 901, None),
        (1000, 900, QueueChange.RESUME),
    ],
)
def test_the_queue_is_joined_when_a_tenth_is_free(
    total: int, used: int, expected: QueueChange | None
) -> None:
    assert Slots(total, used, is_paused=True).decide() is expected


@given(st.integers(1, 2_000), st.integers(0, 2_100))
def test_a_change_is_never_taken_back_at_once(total: int, used: int) -> None:
    for is_paused in (False, True):
        slots = Slots(total, used, is_paused)
        if slots.decide() is not None:
            assert replace(slots, is_paused=not is_paused).decide() is None


@given(st.integers(1, 2_000))
def test_an_empty_process_listens_and_a_full_one_does_not(total: int) -> None:
    assert Slots(total, 0, is_paused=True).decide() is QueueChange.RESUME
    assert Slots(total, total).decide() is QueueChange.PAUSE
