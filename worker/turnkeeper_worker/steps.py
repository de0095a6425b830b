"""What comes next in a run, from what is committed of it. Pure: the loop does what is decided here.

no turn yet                      → AskModel(1)
calls of the last turn are open  → RunTools, or Park when a person must decide first
all calls have their outputs     → AskModel(n + 1), or Fail at max_turns or the token limit
the last turn asked for nothing  → Finish
the deadline has passed          → Fail, unless that was all
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.items import CALL_TYPES, Item, Json, digest, text_of
from turnkeeper_storage.model import CallStatus, RunError, ToolCall, Turn
from turnkeeper_storage.outputs import CANCELLED_TEXT as CANCELLED_TEXT
from turnkeeper_storage.outputs import CUSTOM, FUNCTION, MCP, UNKNOWN_TEXT, outputs_of
from turnkeeper_worker.output_type import OutputType
from turnkeeper_worker.tools import AnyTool

MCP_REQUEST = "mcp_approval_request"
# the items that ask for something, and how their calls are settled
KINDS = {**dict.fromkeys(CALL_TYPES, FUNCTION), "custom_tool_call": CUSTOM, MCP_REQUEST: MCP}


@dataclass(frozen=True, slots=True)
class Progress:
    """What is committed of a run. `turns` in order, numbered from 1; `calls` of all turns.

    `output` is the agent's typed answer, None for plain text. `overdue`: the run's deadline has passed, and
    this is its error. `token_limit`: of all model calls of the run, None for no limit.
    """

    turns: Sequence[Turn]
    calls: Sequence[ToolCall]
    max_turns: int
    cancel_requested: bool = False
    output: OutputType | None = None
    overdue: RunError | None = None
    token_limit: int | None = None


@dataclass(frozen=True, slots=True)
class AskModel:
    """Ask the model for turn `turn`, with `input_suffix` after the run's merged input."""

    turn: int
    input_suffix: list[Item]


@dataclass(frozen=True, slots=True)
class RunTools:
    """Run these calls, in their order of position; all may run at once."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Park:
    """Nothing can run before a person decided on these calls, which are of the last turn."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is done: `items` are all that it made, `output` its answer (text, or JSON of its type)."""

    items: list[Item]
    output: Json


@dataclass(frozen=True, slots=True)
class Fail:
    """The run cannot go on; `items` are what it made, every call with its output."""

    code: str
    message: str
    items: list[Item]


@dataclass(frozen=True, slots=True)
class Cancel:
    """The run was cancelled; `items` are what it made, every call with its output."""

    items: list[Item]


Step: TypeAlias = AskModel | RunTools | Park | Finish | Fail | Cancel


def next_step(progress: Progress) -> Step:
    """What to do next; asking again with the same progress gives the same answer."""
    turns, calls = progress.turns, progress.calls
    if progress.cancel_requested:
        return Cancel(closed(turns, calls))
    last = turns[-1].turn if turns else 0
    wanted = [call for call in calls if call.turn == last]
    if turns and not wanted:  # an answer that came in time stands
        return _finish(progress)
    if progress.overdue is not None:
        return Fail(progress.overdue.code, progress.overdue.message, closed(turns, calls))
    if not turns:
        return AskModel(1, [])
    unsettled = [call for call in wanted if not call.is_settled]
    if unsettled:
        return _settle(unsettled)
    return _spent(progress) or AskModel(last + 1, history_of(turns, calls))


def _spent(progress: Progress) -> Fail | None:
    """Whether the run may not have another model call."""
    turns, limit = progress.turns, progress.token_limit
    items = closed(turns, progress.calls)
    if len(turns) >= progress.max_turns:
        message = f"the model still asked for tools in turn {turns[-1].turn}; raise max_turns"
        return Fail("max_turns_exceeded", f"{message} ({progress.max_turns})", items)
    used = sum(turn.usage.total_tokens for turn in turns)
    if limit is not None and used >= limit:
        message = f"the run used {used:,} tokens and needs another model call; raise token_limit ({limit:,})"
        return Fail("token_limit_exceeded", message, items)
    return None


def _settle(unsettled: Sequence[ToolCall]) -> Step:
    # What can run does so at once; a run parks only for what is left.
    decided = (CallStatus.PLANNED, CallStatus.STARTED)
    ready = tuple(sorted((call for call in unsettled if call.status in decided), key=_place))
    return RunTools(ready) if ready else Park(tuple(sorted(unsettled, key=_place)))


def _finish(progress: Progress) -> Step:
    items = history_of(progress.turns, progress.calls)
    try:
        output = final_output(progress.turns[-1].items, progress.output)
    except RunFailure as failure:
        return Fail(failure.code, failure.message, items)
    return Finish(items, output)


def plan_calls(items: Sequence[Item], turn: int, agent_tools: Mapping[str, AnyTool]) -> list[ToolCall]:
    """The tool calls of an answer. A call of an unknown tool is planned too: it gets an error as output.

    A request of the model server's own (MCP) is planned as a call that nothing here runs.
    """
    calls = [item for item in items if item.get("type") in KINDS]
    return [_planned(item, turn, position, agent_tools) for position, item in enumerate(calls)]


def _planned(item: Item, turn: int, position: int, agent_tools: Mapping[str, AnyTool]) -> ToolCall:
    name, kind = str(item.get("name", "")), KINDS[item["type"]]
    arguments = item.get("input") if kind == CUSTOM else item.get("arguments")
    tool = agent_tools.get(name) if kind != MCP else None
    return ToolCall(
        call_id=str(item[_id_field(item)]),
        turn=turn,
        name=name,
        arguments=arguments if isinstance(arguments, str) else "",
        position=position,
        idempotent=tool is None or tool.idempotent,
        kind=kind,
        # tools of one name on two servers are two tools
        tool_digest=digest([MCP, item.get("server_label"), name]) if kind == MCP else None,
    )


def _id_field(item: Item) -> str:
    return "id" if item["type"] == MCP_REQUEST else "call_id"


def with_unique_call_ids(items: Sequence[Item], turn: int, taken: Container[str]) -> list[Item]:
    """The items of an answer, with call ids that are in it once and not in `taken` (of earlier turns).

    Small model servers count from 0 in each answer, or give no id at all. To be used before an answer is
    committed; ids that are unique stay as they are.
    """
    seen: set[str] = set()
    result: list[Item] = []
    for place, item in enumerate(items):
        if item.get("type") in KINDS:
            field = _id_field(item)
            given = item.get(field)
            call_id = given if isinstance(given, str) and given else "call"
            if call_id != given or call_id in seen or call_id in taken:
                call_id = f"{call_id}_{turn}_{place}"
            while call_id in seen or call_id in taken:
                call_id += "_"
            seen.add(call_id)
            result.append({**item, field: call_id})
        else:
            result.append(item)
    return result


def turn_items(turn: Turn, calls: Sequence[ToolCall]) -> list[Item]:
    """The turn's items, the outputs of its settled calls in the order of the calls, and what was added."""
    return [*turn.items, *after_calls(turn, calls)]


def after_calls(turn: Turn, calls: Sequence[ToolCall]) -> list[Item]:
    """What follows the turn's own items: the outputs of its settled calls, and what a caller added."""
    return [*outputs_of(calls, turn.turn), *turn.added]


def history_of(turns: Sequence[Turn], calls: Sequence[ToolCall]) -> list[Item]:
    """All that the run made so far, in order; open calls stand without an output."""
    return [item for turn in turns for item in turn_items(turn, calls)]


def close_calls(calls: Sequence[ToolCall], text: str = CANCELLED_TEXT) -> list[ToolCall]:
    """The calls, those without an outcome closed with `text` as their output.

    Of a call that was under way, or is in doubt, the output says that nobody knows.
    """
    doubtful = (CallStatus.STARTED, CallStatus.IN_DOUBT)
    return [
        call
        if call.is_settled
        else replace(call, status=CallStatus.CLOSED, output=UNKNOWN_TEXT if call.status in doubtful else text)
        for call in calls
    ]


def closed(turns: Sequence[Turn], calls: Sequence[ToolCall], text: str = CANCELLED_TEXT) -> list[Item]:
    """All that the run made, with synthetic outputs for open calls: a valid history whatever happened."""
    return history_of(turns, close_calls(calls, text))


def final_output(items: Sequence[Item], output: OutputType | None) -> Json:
    """The answer in the items of the last turn: its last message, as text or as JSON of the type.

    Raises RunFailure: `output_invalid` for JSON that does not fit, `model_refused` for a refusal.
    """
    messages = [item for item in items if item.get("type") == "message" or "role" in item]
    last = messages[-1] if messages else {}
    if output is None:
        return text_of(last)
    content = last.get("content")
    parts = content if isinstance(content, list) else []
    if any(isinstance(part, Mapping) and part.get("type") == "refusal" for part in parts):
        raise RunFailure("model_refused", "the model refused to give the agent's output_type")
    return output.parse(text_of(last))


def tool_for(
    call: ToolCall, agent_tools: Mapping[str, AnyTool], *, agent: str, stored: bool
) -> AnyTool | None:
    """The tool of a call; None when a fresh answer names a tool that the agent does not have.

    `stored` says that the call comes from an earlier worker's checkpoint: there the tool must have existed,
    so raises RunFailure `tool_missing`.
    """
    tool = agent_tools.get(call.name)
    if tool is None and stored:
        raise RunFailure(
            "tool_missing", f"run names tool {call.name!r}, agent {agent!r} has: {_names(agent_tools)}"
        )
    return tool


def unknown_tool_output(name: str, agent_tools: Mapping[str, AnyTool]) -> str:
    """What the model is told when it calls a tool that there is not."""
    return f"Tool error: there is no tool {name!r}; there are: {_names(agent_tools)}"


def _names(agent_tools: Mapping[str, AnyTool]) -> str:
    return ", ".join(sorted(agent_tools)) or "no tools"


def _place(call: ToolCall) -> int:
    return call.position
