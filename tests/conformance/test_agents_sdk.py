"""Our session classes in the hands of openai-agents: its Runner reads and writes each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import agents
import pytest
from openai import AsyncOpenAI

from tests.fakes import stores
from tests.fakes.model_server import ScriptedModel
from tests.fakes.replies import calls, text
from tests.fakes.stores import Open, Place
from tests.fakes.worker import shown, texts


@pytest.fixture(params=stores.params())
def place(request: pytest.FixtureRequest) -> Place:
    return stores.place(request.param, request)


@pytest.fixture
async def open_session(place: Place) -> AsyncIterator[Open]:
    async with place.opened() as opened:
        yield opened


@agents.function_tool
async def order_status(order_id: str) -> str:
    """Look an order up."""
    return f"order {order_id} is on its way"


async def test_its_runner_remembers_in_every_session_class(open_session: Open) -> None:
    agents.set_tracing_disabled(disabled=True)
    ours = open_session("sdk")
    # another class than ours to it: what it asks of a session is a matter of structure
    session = cast("agents.Session", ours)
    await session.clear_session()
    script = [calls(("order_status", {"order_id": "7"})), text("It is on its way."), text("Order 7.")]
    async with (
        ScriptedModel(*script) as model,
        AsyncOpenAI(base_url=model.base_url, api_key="test", max_retries=0) as client,
    ):
        support = agents.Agent(
            name="support",
            model=agents.OpenAIResponsesModel("gpt-5.2", client),
            tools=[order_status],
        )
        first = await agents.Runner.run(support, "Where is order 7?", session=session)
        second = await agents.Runner.run(support, "Which order?", session=session)

    assert (first.final_output, second.final_output) == ("It is on its way.", "Order 7.")
    told = [
        "Where is order 7?",
        'order_status({"order_id": "7"})',
        "= order 7 is on its way",
        "It is on its way.",
        "Which order?",
    ]
    assert shown(model.requests[2]) == told
    assert texts(await ours.get_items()) == [*told, "Order 7."]
