"""Which calls of an answer must wait for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import ApprovalReason, CallStatus, ToolCall
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.gates import Gatekeeper, new_approval
from turnkeeper_worker.steps import plan_calls, with_unique_call_ids
from turnkeeper_worker.tools import AnyTool, Gate, tool


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def paying(gate: bool | Gate) -> AnyTool:
    @tool(needs_approval=gate)
    def pay(amount: int) -> str:
        return "paid"

    return pay


def call_of(arguments: Json = None, name: str = "pay") -> Item:
    given = arguments if isinstance(arguments, str) else json.dumps(arguments or {"amount": 5})
    return {"type": "function_call", "call_id": "c1", "name": name, "arguments": given}


MCP_REQUEST = {
    "type": "mcp_approval_request",
    "id": "mcpr_1",
    "server_label": "shop",
    "name": "delete",
    "arguments": "{}",
}


async def judged(
    one: AnyTool,
    item: Item,
    threads: ThreadPoolExecutor,
    sticky: dict[str, Json] | None = None,
) -> ToolCall:
    tools = {one.name: one}
    keeper = Gatekeeper(tools, RunContext(None, "run_1", "s"), threads)
    return (await keeper.judge(plan_calls([item], 1, tools), sticky or {}))[0]


async def test_a_call_of_a_gated_tool_waits(threads: ThreadPoolExecutor) -> None:
    pay = paying(True)
    call = await judged(pay, call_of(), threads)

    assert (call.status, call.tool_digest) == (CallStatus.AWAITING, pay.digest)
    assert not call.idempotent


async def test_a_tool_without_a_gate_is_not_asked_about(threads: ThreadPoolExecutor) -> None:
    call = await judged(paying(False), call_of("broken"), threads)

    assert (call.status, call.tool_digest) == (CallStatus.PLANNED, None)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_function_is_asked_with_the_call_and_its_parsed_arguments(
    is_async: bool, threads: ThreadPoolExecutor
) -> None:
    seen: list[tuple[str | None, dict[str, Any]]] = []

    def sync_gate(ctx: RunContext[None], arguments: dict[str, Any]) -> bool:
        seen.append((ctx.call_id, arguments))
        return bool(arguments["amount"] > 10)

    async def async_gate(ctx: RunContext[None], arguments: dict[str, Any]) -> bool:
        return sync_gate(ctx, arguments)

    pay = paying(async_gate if is_async else sync_gate)
    small = await judged(pay, call_of({"amount": "7"}), threads)
    large = await judged(pay, call_of({"amount": 70}), threads)

    assert (small.status, small.tool_digest) == (CallStatus.PLANNED, pay.digest)
    assert large.status is CallStatus.AWAITING
    assert seen == [("c1", {"amount": 7}), ("c1", {"amount": 70})]


@pytest.mark.parametrize("answer", [None, 0, "", ValueError("no"), StopIteration()], ids=repr)
async def test_only_false_lets_a_call_pass(answer: object, threads: ThreadPoolExecutor) -> None:
    def gate(ctx: RunContext[None], arguments: dict[str, Any]) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert (await judged(paying(gate), call_of(), threads)).status is CallStatus.AWAITING


@pytest.mark.parametrize("arguments", ["", " ", "{", "[]", '{"amount": "much"}', '{"amount": 1, "to": 2}'])
async def test_malformed_arguments_wait_and_the_function_is_not_asked(
    arguments: str, threads: ThreadPoolExecutor
) -> None:
    asked: list[str] = []

    def gate(ctx: RunContext[None], arguments: dict[str, Any]) -> bool:
        asked.append("asked")
        return False

    pay = paying(gate)
    call = await judged(pay, call_of(arguments), threads)

    assert call.status is CallStatus.AWAITING
    assert asked == []
    question = new_approval(call, pay, agent_digest="a", timeout=None)
    assert question.reason is ApprovalReason.MALFORMED
    assert question.arguments == arguments


def sticky(verdict: str, tool_digest: str | None, name: str = "pay") -> dict[str, Json]:
    return {name: {"verdict": verdict, "by": "ana", "reason": "never", "tool_digest": tool_digest}}


async def test_a_sticky_approval_lets_calls_pass_that_the_tool_can_take(threads: ThreadPoolExecutor) -> None:
    pay = paying(True)
    standing = sticky("approved", pay.digest)

    assert (await judged(pay, call_of(), threads, standing)).status is CallStatus.PLANNED
    assert (await judged(pay, call_of("{"), threads, standing)).status is CallStatus.AWAITING


async def test_a_sticky_rejection_answers_the_call_with_its_reason(threads: ThreadPoolExecutor) -> None:
    pay = paying(True)
    call = await judged(pay, call_of(), threads, sticky("rejected", pay.digest))

    assert call.status is CallStatus.DENIED
    assert call.output == "Tool execution was not approved. Reason: never"


async def test_a_sticky_decision_on_the_tool_as_it_was_decides_nothing(threads: ThreadPoolExecutor) -> None:
    for verdict in ("approved", "rejected"):
        call = await judged(paying(True), call_of(), threads, sticky(verdict, "another"))
        assert call.status is CallStatus.AWAITING


async def test_a_request_of_an_mcp_server_always_waits_and_needs_no_tool(threads: ThreadPoolExecutor) -> None:
    # a function of that name is another tool
    @tool
    def delete() -> str:
        return "deleted"

    call = await judged(delete, MCP_REQUEST, threads)

    assert (call.kind, call.call_id, call.status) == ("mcp", "mcpr_1", CallStatus.AWAITING)
    assert new_approval(call, None, agent_digest="a", timeout=None).reason is ApprovalReason.GATED


async def test_a_sticky_decision_on_an_mcp_tool_is_for_its_server_only(threads: ThreadPoolExecutor) -> None:
    pay = paying(True)
    first = await judged(pay, MCP_REQUEST, threads)
    standing = sticky("approved", first.tool_digest, "delete")
    same = await judged(pay, MCP_REQUEST, threads, standing)
    other = await judged(pay, {**MCP_REQUEST, "server_label": "bank"}, threads, standing)

    assert (same.status, same.output) == (CallStatus.DONE, "")
    assert other.status is CallStatus.AWAITING


async def test_a_call_is_asked_about_again_when_its_tool_is_another(threads: ThreadPoolExecutor) -> None:
    before, after = paying(True), paying(lambda ctx, arguments: arguments["amount"] > 10)
    keeper = Gatekeeper({}, RunContext(None, "run_1", "s"), threads)
    approved = ToolCall("c1", 1, "pay", '{"amount": 50}', tool_digest=before.digest)
    small = ToolCall("c1", 1, "pay", '{"amount": 5}', tool_digest=before.digest)

    assert (await keeper.pass_again(approved, before)) == approved
    assert (await keeper.pass_again(approved, after)).status is CallStatus.AWAITING
    assert (await keeper.pass_again(small, after)).status is CallStatus.PLANNED


async def test_a_call_from_before_its_tool_had_a_gate_is_asked_about(threads: ThreadPoolExecutor) -> None:
    keeper = Gatekeeper({}, RunContext(None, "run_1", "s"), threads)
    planned = ToolCall("c1", 1, "pay", '{"amount": 5}')

    assert (await keeper.pass_again(planned, paying(False))).status is CallStatus.PLANNED
    assert (await keeper.pass_again(planned, paying(True))).status is CallStatus.AWAITING


def test_the_time_to_decide_is_the_tools_own_or_the_settings() -> None:
    @tool(needs_approval=True, approval_timeout=60)
    def pay() -> str:
        return "paid"

    call = ToolCall("c1", 1, "pay", "{}", status=CallStatus.AWAITING)

    assert new_approval(call, pay, agent_digest="a", timeout=5.0).expires_in == 60.0
    assert new_approval(call, paying(True), agent_digest="a", timeout=5.0).expires_in == 5.0
    assert new_approval(call, paying(True), agent_digest="a", timeout=None).expires_in is None


def test_a_gate_is_part_of_a_tools_digest_and_not_of_its_definition() -> None:
    @tool(idempotent=False)
    def pay(amount: int) -> str:
        return "paid"

    gated = paying(True)
    assert gated.definition() == pay.definition()
    assert gated.digest != pay.digest
    assert paying(False).digest == paying(False).digest


def test_a_gated_tool_is_not_idempotent_unless_it_says_so() -> None:
    @tool(needs_approval=True, idempotent=True)
    def look() -> str:
        return "seen"

    assert look.idempotent
    assert not paying(True).idempotent
    assert paying(False).idempotent


@pytest.mark.parametrize(
    "options", [{"needs_approval": "yes"}, {"needs_approval": None}, {"needs_approval": 1}]
)
def test_a_gate_is_a_bool_or_a_function(options: dict[str, Any]) -> None:
    def pay() -> str:
        return "paid"

    with pytest.raises(ConfigurationError, match="needs_approval"):
        tool(**options)(pay)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), "5", True])
def test_an_approval_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="approval_timeout"):

        @tool(needs_approval=True, approval_timeout=timeout)
        def pay() -> str:
            return "paid"


@pytest.mark.parametrize(
    "hosted", [[{"type": "function", "name": "f"}], [{}], ["web_search"], [{"type": 1}], {}]
)
def test_hosted_tools_are_definitions_of_what_the_server_runs(hosted: Any) -> None:
    with pytest.raises(ConfigurationError, match="hosted_tools"):
        Agent(name="support", model="m", hosted_tools=hosted)


def test_hosted_tools_are_offered_beside_the_functions_and_registered_nowhere() -> None:
    mcp = {"type": "mcp", "server_label": "shop", "authorization": "secret"}
    pay = paying(True)
    agent = Agent(name="support", model="m", tools=[pay], hosted_tools=[mcp])
    renewed = Agent(name="support", model="m", tools=[pay], hosted_tools=[{**mcp, "authorization": "new"}])
    plain = Agent(name="support", model="m", tools=[pay])

    assert agent.offered == (pay.definition(), mcp)
    assert agent.definitions == (pay.definition(),)
    assert agent.digest == renewed.digest != plain.digest


def test_ids_of_mcp_requests_are_unique_too() -> None:
    again = with_unique_call_ids([MCP_REQUEST, {**MCP_REQUEST, "id": None}], 2, {"mcpr_0"})

    assert again[0] == MCP_REQUEST
    assert again[1]["id"] == "call_2_1"
    assert "call_id" not in again[1]
