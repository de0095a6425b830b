"""What every model class speaks: a request, an answer, deltas on the way, and one kind of error. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import Usage

# What a request is made of by us: `extra` must not fight with it.
_OURS = frozenset({"input", "instructions", "metadata", "model", "stream", "text", "tools"})
_CHOICES = frozenset({"auto", "none", "required"})


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Options of a model call; None leaves each to the server.

    `reasoning_effort`: e.g. "low". `tool_choice`: "auto", "none", "required", a tool's name, or JSON; a
    forced choice holds for the first turn of a run only, or the run would never end. `store=False` keeps
    nothing at the server and asks for encrypted reasoning, so that a history stands on its own. `extra` goes
    into the body as it is. Raises ConfigurationError for an `extra` that names a part of the request that is
    ours.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    reasoning_effort: str | None = None
    tool_choice: str | dict[str, Json] | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken = sorted(_OURS & set(self.extra))
        if taken:
            raise ConfigurationError(
                f"model_settings.extra: {', '.join(taken)} is set by the agent; set it there instead"
            )

    def after_tools(self) -> ModelSettings:
        """The settings of a turn that follows tool calls: a forced choice no longer holds."""
        if self.tool_choice in (None, "auto", "none"):
            return self
        return replace(self, tool_choice="auto")

    def body(self) -> dict[str, Json]:
        """These settings as fields of a Responses request."""
        fields: dict[str, Json] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_output_tokens": self.max_output_tokens,
            "reasoning": {"effort": self.reasoning_effort} if self.reasoning_effort else None,
            "tool_choice": self._choice(),
            "parallel_tool_calls": self.parallel_tool_calls,
            "store": self.store,
            "truncation": self.truncation,
            "include": ["reasoning.encrypted_content"] if self.store is False else None,
        }
        return {name: value for name, value in fields.items() if value is not None} | dict(self.extra)

    def _choice(self) -> str | dict[str, Json] | None:
        if isinstance(self.tool_choice, str) and self.tool_choice not in _CHOICES:
            return {"type": "function", "name": self.tool_choice}
        return self.tool_choice


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model call. `timeout` is in seconds and for the whole call, a streamed one too.

    `tools` are definitions as the Responses API takes them, `text_format` the schema of a typed answer,
    `metadata` what the server files the call under, `idempotency_key` the same for each attempt of one turn.
    """

    model: str
    instructions: str
    input: Sequence[Item]
    tools: Sequence[dict[str, Json]] = ()
    text_format: dict[str, Json] | None = None
    settings: ModelSettings = ModelSettings()
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 600.0
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """A whole answer: `items` are clean, ready to be an input again."""

    id: str | None
    items: list[Item]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer on its way; `call_id` is set for the arguments of a tool call."""

    kind: Literal["text", "arguments", "reasoning"]
    text: str
    item_id: str | None = None
    call_id: str | None = None
    output_index: int = 0


OnDelta: TypeAlias = Callable[[Delta], Awaitable[None] | None]
"""Is given the pieces of a streamed answer, in order; when it is a coroutine, it is awaited."""


class ModelError(Exception):
    """A model call failed. The message never holds item content or keys.

    `retry_after` is in seconds, as the server asked; `started` says that deltas were given before.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        started: bool = False,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after
        self.started = started


class Model(Protocol):
    """A model client: one call is one attempt, the retries are the runner's."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        """The answer; with `on_delta` the call is streamed. Raises ModelError."""
        ...

    async def aclose(self) -> None:
        """Give the connections back."""
        ...
