"""Whatever a history holds: what is named as broken is what no model is given, and removing it mends it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.test_valid_input import histories
from turnkeeper_storage.history_faults import FaultKind, find_faults
from turnkeeper_storage.input_items import clean
from turnkeeper_storage.items import Item
from turnkeeper_storage.valid_input import OUTPUT_OF, call_id, make_valid

with_gaps = histories.flatmap(
    lambda history: st.lists(st.integers(0, len(history)), max_size=3).map(
        lambda places: punched(history, places)
    )
)


def punched(history: list[Item], places: list[int]) -> list[Item | None]:
    """The history with items that cannot be read at these places."""
    punched: list[Item | None] = list(history)
    for place in places:
        punched.insert(place, None)
    return punched


def without(history: list[Item | None], places: set[int]) -> list[Item | None]:
    return [item for place, item in enumerate(history) if place not in places]


@given(with_gaps)
def test_what_is_left_without_the_faults_is_what_a_model_is_given(history: list[Item | None]) -> None:
    faults = find_faults(history)
    left = without(history, {fault.place for fault in faults})
    readable = [item for item in history if item is not None]
    assert [clean(item) for item in left if item is not None] == make_valid(readable)
    assert None not in left


@given(with_gaps)
def test_a_history_that_was_repaired_has_no_faults(history: list[Item | None]) -> None:
    assert find_faults(without(history, {fault.place for fault in find_faults(history)})) == ()


@given(with_gaps)
def test_faults_come_in_the_order_of_their_places_and_each_once(history: list[Item | None]) -> None:
    places = [fault.place for fault in find_faults(history)]
    assert places == sorted(set(places))
    assert {place for place, item in enumerate(history) if item is None} <= set(places)


@given(histories, st.sets(st.sampled_from(["a", "b", "c"])))
def test_an_open_call_is_no_fault_and_nothing_else_becomes_one(
    history: list[Item], open_calls: set[str]
) -> None:
    strict, lenient = find_faults(history), find_faults(history, open_calls)
    assert {fault.place for fault in lenient} <= {fault.place for fault in strict}
    newest: dict[tuple[str, str], int] = {}
    for place, item in enumerate(history):
        kind, tie = str(item.get("type")), call_id(item)
        if kind in OUTPUT_OF and tie is not None:
            newest[kind, tie] = place
    excused = {place for (_, tie), place in newest.items() if tie in open_calls}
    assert not excused & {fault.place for fault in lenient if fault.kind is FaultKind.CALL_WITHOUT_OUTPUT}
