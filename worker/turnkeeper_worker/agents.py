"""Agents: a name, a model, instructions and tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Json, digest, encode
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.merge import SessionInputCallback
from turnkeeper_worker.models.base import ModelSettings
from turnkeeper_worker.output_type import OutputType, output_type
from turnkeeper_worker.tools import AnyTool, by_name, named

if TYPE_CHECKING:
    from turnkeeper_worker.runner import Runner

# Any: a function that wants RunContext[Deps] takes no RunContext[object].
Instructions: TypeAlias = str | Callable[[RunContext[Any]], str | Awaitable[str]]


@dataclass(frozen=True, eq=False)
class Agent:
    """What answers a run.

    `instructions`: a text, or a function of the RunContext, sync or async, asked once per turn.
    `output_type`: what the answer must be (BaseModel, dataclass, TypedDict, `list[…]`), None for text.
    `hosted_tools`: definitions, as the Responses API takes them, of tools that the model server runs.
    `max_turns`: model calls of one run, None for the setting's. `session_input_callback`: see `merge`.
    `token_limit`: tokens of all model calls of one run, after which none is begun; None for no limit.
    `runner`: another way to take a turn. Raises ConfigurationError for a field that cannot work.
    """

    name: str
    model: str
    instructions: Instructions = ""
    tools: Sequence[AnyTool] = ()
    output_type: object | None = None
    max_turns: int | None = None
    model_settings: ModelSettings = field(default_factory=ModelSettings)
    session_input_callback: SessionInputCallback | None = None
    runner: Runner | None = None
    hosted_tools: Sequence[Mapping[str, Json]] = ()
    token_limit: int | None = None

    def __post_init__(self) -> None:
        _check_text("name", self.name)
        _check_text(f"{self.name!r}, model", self.model)
        if not isinstance(self.instructions, str) and not callable(self.instructions):
            raise _error(self.name, "instructions", self.instructions, "use a text or a function")
        for field_, limit in (("max_turns", self.max_turns), ("token_limit", self.token_limit)):
            if limit is not None and (type(limit) is not int or limit < 1):
                raise _error(self.name, field_, limit, "use a whole number from 1, or None")
        if not isinstance(self.model_settings, ModelSettings):
            raise _error(self.name, "model_settings", self.model_settings, "use ModelSettings(…)")
        if self.session_input_callback is not None and not callable(self.session_input_callback):
            raise _error(self.name, "session_input_callback", self.session_input_callback, "use a function")
        object.__setattr__(self, "tools", _tools(self.name, self.tools))
        object.__setattr__(self, "hosted_tools", _hosted(self.name, self.hosted_tools))
        # Made here, so that their faults come out where the agent is written and not in its first run.
        _ = self.tools_by_name, self.output
        self._check_choice()

    @cached_property
    def tools_by_name(self) -> Mapping[str, AnyTool]:
        """The tools by the names that the model calls."""
        return by_name(tuple(self.tools), agent=self.name)

    @cached_property
    def definitions(self) -> tuple[dict[str, Json], ...]:
        """The agent's own tools as the Responses API takes them: what is registered of the agent."""
        return tuple(tool.definition() for tool in self.tools)

    @cached_property
    def offered(self) -> tuple[dict[str, Json], ...]:
        """All tools that the model is offered, those that its server runs too. May hold secrets."""
        return (*self.definitions, *(dict(hosted) for hosted in self.hosted_tools))

    @cached_property
    def output(self) -> OutputType | None:
        """The typed answer, None for text."""
        if self.output_type in (None, str):
            return None
        return output_type(self.output_type, agent=self.name)

    @cached_property
    def digest(self) -> str:
        """Changes with what matters for a run that waits; the same in every process with the same code."""
        meaning: dict[str, Json] = {
            "name": self.name,
            "model": self.model,
            "instructions": named(self.instructions),
            "tools": [tool.digest for tool in self.tools],
            "settings": self.model_settings.body(),
            "output": self.output.text_format if self.output else None,
        }
        if self.hosted_tools:
            meaning["hosted"] = [_without_secrets(hosted) for hosted in self.hosted_tools]
        return digest(meaning)

    def tool(self, name: str) -> AnyTool | None:
        """The tool of that name, None when the agent has none."""
        return self.tools_by_name.get(name)

    def _check_choice(self) -> None:
        choice = self.model_settings.tool_choice
        if isinstance(choice, str) and choice not in ("auto", "none", "required", *self.tools_by_name):
            raise _error(self.name, "tool_choice", choice, "use 'auto', 'none', 'required' or a tool's name")


def _tools(agent: str, given: object) -> tuple[AnyTool, ...]:
    if not isinstance(given, (list, tuple)):
        raise _error(agent, "tools", given, "use a list of tools")
    return tuple(given)


def _hosted(agent: str, given: object) -> tuple[dict[str, Json], ...]:
    if not isinstance(given, (list, tuple)):
        raise ConfigurationError(
            f"agent {agent!r}, hosted_tools: {type(given).__name__}; use a list of dicts"
        )
    for entry in given:
        kind = entry.get("type") if isinstance(entry, Mapping) else None
        if not isinstance(kind, str) or not kind:
            raise ConfigurationError(
                f"agent {agent!r}, hosted_tools: {type(entry).__name__} without a type; use definitions as "
                "the Responses API takes them, e.g. {'type': 'web_search'}"
            )
        if kind == "function":
            raise ConfigurationError(
                f"agent {agent!r}, hosted_tools: a function runs here; put it into `tools` with @tool"
            )
        encode(dict(entry), field=f"agent {agent!r}, hosted_tools")
    return tuple(dict(entry) for entry in given)


# A token is renewed now and then, which is no other agent.
_SECRETS = frozenset({"headers", "authorization"})


def _without_secrets(hosted: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in hosted.items() if name not in _SECRETS}


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > 255 or not value.isprintable():
        raise ConfigurationError(f"agent {what}: {value!r}; use a text of 1 to 255 printable characters")


def _error(agent: str, what: str, value: object, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"agent {agent!r}, {what}: {value!r}; {remedy}")
