"""What an agent is, and what is refused where it is written."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import BaseModel

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Json
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.models.base import ModelSettings
from turnkeeper_worker.tools import tool


@tool
def look(id: str) -> str:
    """Look."""
    return id


class Verdict(BaseModel):
    ok: bool


def kindly(context: RunContext[None]) -> str:
    return "Be kind."


AGENT = Agent(name="support", model="m", instructions="Be brief.", tools=[look])


def test_tools_are_found_by_name() -> None:
    assert AGENT.tool("look") is look
    assert AGENT.tool("leap") is None
    assert AGENT.definitions == (look.definition(),)


def test_equal_agents_have_one_digest() -> None:
    assert AGENT.digest == Agent(name="support", model="m", instructions="Be brief.", tools=[look]).digest
    assert len(AGENT.digest) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"model": "n"},
        {"instructions": "Be long."},
        {"instructions": kindly},
        {"tools": []},
        {"tools": [tool(name="look", description="x")(look.function)]},
        {"model_settings": ModelSettings(temperature=0.1)},
        {"output_type": Verdict},
    ],
)
def test_a_digest_changes_with_what_matters(change: dict[str, Json]) -> None:
    assert replace(AGENT, **change).digest != AGENT.digest


def test_a_digest_does_not_depend_on_where_a_function_lies_in_memory() -> None:
    class Instructions:
        def __call__(self, context: RunContext[None]) -> str:
            return "x"

    first = Agent(name="a", model="m", instructions=Instructions())
    assert first.digest == Agent(name="a", model="m", instructions=Instructions()).digest


def test_text_is_the_plain_output() -> None:
    assert AGENT.output is None
    assert replace(AGENT, output_type=str).output is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": ""}, "agent name"),
        ({"name": "a\nb"}, "agent name"),
        ({"name": "x" * 256}, "agent name"),
        ({"model": None}, "'a', model"),
        ({"instructions": 3}, "instructions"),
        ({"max_turns": 0}, "max_turns"),
        ({"max_turns": True}, "max_turns"),
        ({"tools": look}, "use a list of tools"),
        ({"tools": [look, look]}, "two tools named 'look'"),
        ({"tools": [kindly]}, "put @tool over"),
        ({"output_type": dict[str, int]}, "output_type"),
        ({"model_settings": {"temperature": 1}}, "use ModelSettings"),
        ({"model_settings": ModelSettings(tool_choice="leap")}, "'leap'"),
        ({"session_input_callback": 3}, "session_input_callback"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Json], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Agent(**{"name": "a", "model": "m", **fields})


def test_settings_that_are_ours_cannot_be_extra() -> None:
    with pytest.raises(ConfigurationError, match="stream"):
        ModelSettings(extra={"stream": True})


def test_settings_become_fields_of_the_request() -> None:
    settings = ModelSettings(
        temperature=0.0,
        top_p=0.9,
        max_output_tokens=5,
        reasoning_effort="low",
        tool_choice="required",
        parallel_tool_calls=False,
        truncation="auto",
    )
    assert settings.body() == {
        "temperature": 0.0,
        "top_p": 0.9,
        "max_output_tokens": 5,
        "reasoning": {"effort": "low"},
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "truncation": "auto",
    }
    assert ModelSettings().body() == {}
