"""An agent's instructions for one turn."""

from __future__ import annotations

import inspect
from typing import Any

from turnkeeper_storage.errors import RunFailure
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext


async def resolve_instructions(agent: Agent, context: RunContext[Any]) -> str:
    """The text of the instructions; a function is called with the context, and awaited if it is async.

    Raises RunFailure `instructions_failed` when it raises or gives anything but a text.
    """
    if isinstance(agent.instructions, str):
        return agent.instructions
    try:
        given = agent.instructions(context)
        text: object = await given if inspect.isawaitable(given) else given
    except Exception as error:
        # Its text may quote what the function read: the type is what may be told.
        raise _failure(agent, f"raised {type(error).__name__}") from error
    if not isinstance(text, str):
        raise _failure(agent, f"returned {type(text).__name__}")
    return text


def _failure(agent: Agent, what: str) -> RunFailure:
    return RunFailure(
        "instructions_failed", f"the instructions of agent {agent.name!r} {what}; return a text"
    )
