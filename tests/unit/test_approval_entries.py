"""Whatever parks a run has, its boundaries put its history together once, in order."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from turnkeeper_storage.items import Item
from turnkeeper_storage.model import CallStatus, Merged, ToolCall, Turn, Usage
from turnkeeper_storage.valid_input import make_valid
from turnkeeper_worker.entries import entry_at_end, entry_at_park
from turnkeeper_worker.steps import close_calls, history_of, plan_calls

INPUT: list[Item] = [{"role": "user", "content": "hello"}]
SETTLED = (CallStatus.DONE, CallStatus.DENIED)


def item(kind: str, turn: int, place: int) -> Item:
    if kind == "mcp_approval_request":
        return {"type": kind, "id": f"{turn}.{place}", "name": "delete", "arguments": "{}"}
    text = {"input": "x"} if kind == "custom_tool_call" else {"arguments": "{}"}
    return {"type": kind, "call_id": f"{turn}.{place}", "name": "pay", **text}


KINDS = st.sampled_from(["function_call", "custom_tool_call", "mcp_approval_request"])
TURNS = st.lists(st.lists(KINDS, min_size=1, max_size=3), min_size=1, max_size=5)


def made(kinds: list[list[str]], added: list[bool]) -> tuple[list[Turn], list[ToolCall]]:
    turns: list[Turn] = []
    calls: list[ToolCall] = []
    for number, asked in enumerate(kinds, start=1):
        items = [item(kind, number, place) for place, kind in enumerate(asked)]
        more: list[Item] = [{"role": "user", "content": f"added {number}"}] if added[number - 1] else []
        turns.append(Turn(number, None, items, Usage(), more))
        calls += plan_calls(items, number, {})
    return turns, calls


@given(
    kinds=TURNS,
    parks=st.lists(st.integers(0, 2), min_size=5, max_size=5),
    done_at_park=st.booleans(),
    added=st.lists(st.booleans(), min_size=5, max_size=5),
    streamed=st.booleans(),
    closed=st.booleans(),
)
def test_the_boundaries_of_a_run_add_up_to_its_history(
    kinds: list[list[str]],
    parks: list[int],
    done_at_park: bool,
    added: list[bool],
    streamed: bool,
    closed: bool,
) -> None:
    turns, calls = made(kinds, added)
    settled = [replace(call, status=CallStatus.DONE, output=f"out {call.call_id}") for call in calls]
    if closed:  # the run ends before its last calls have outcomes
        settled[-1] = close_calls([calls[-1]])[0]
    merged = None if streamed else Merged(INPUT, INPUT)
    stored_turn: int | None = None
    history: list[Item] = list(INPUT) if streamed else []
    order: list[int] = []
    for count in range(1, len(turns) + 1):
        for _ in range(parks[count - 1]):  # a turn may park again, for what changed meanwhile
            # what stands behind the calls of a turn that parks is not there yet, or is not to be seen
            state = (
                settled
                if done_at_park
                else [c if c.turn < count else calls[i] for i, c in enumerate(settled)]
            )
            entry = entry_at_park(merged, turns[:count], state, stored_turn=stored_turn)
            history += entry.items
            order += entry.turns
            stored_turn = count
            assert history == [*INPUT, *history_of(turns[: count - 1], settled), *turns[count - 1].items]
    end = entry_at_end(merged, turns, settled, stored_turn=stored_turn)

    assert [*history, *end.items] == [*INPUT, *history_of(turns, settled)]
    assert [*order, *end.turns] == sorted([*order, *end.turns])
    assert len(end.turns) == len(end.items)


def test_a_run_without_a_turn_adds_nothing() -> None:
    assert entry_at_end(Merged(INPUT, INPUT), [], [], stored_turn=None).items == []


def test_outputs_have_the_kind_of_their_call() -> None:
    turns, calls = made([["custom_tool_call", "mcp_approval_request", "mcp_approval_request"]], [False])
    custom, approved, denied = calls
    settled = [
        replace(custom, status=CallStatus.DONE, output="ok"),
        replace(approved, status=CallStatus.DONE, output=""),
        replace(denied, status=CallStatus.DENIED, output="no"),
    ]

    assert history_of(turns, settled)[3:] == [
        {"type": "custom_tool_call_output", "call_id": "1.0", "output": "ok"},
        {"type": "mcp_approval_response", "approval_request_id": "1.1", "approve": True},
        {"type": "mcp_approval_response", "approval_request_id": "1.2", "approve": False, "reason": "no"},
    ]


def test_a_request_of_an_mcp_server_reaches_the_model_with_its_answer_only() -> None:
    asked = [item("mcp_approval_request", 1, 0), item("mcp_approval_request", 1, 1)]
    answer: Item = {"type": "mcp_approval_response", "approval_request_id": "1.1", "approve": True}

    assert make_valid([*asked, answer]) == [asked[1], answer]
    assert make_valid([answer, *asked]) == []
