"""A model request as the body of `POST /v1/chat/completions`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from turnkeeper_storage.items import Json
from turnkeeper_worker.models.base import ModelRequest, ModelSettings
from turnkeeper_worker.models.chat_items import to_messages

_TOOLS_ONLY = frozenset({"tool_choice", "parallel_tool_calls"})
_CHOICES = frozenset({"auto", "none", "required"})


def request_body(request: ModelRequest, *, stream: bool = False) -> dict[str, Json]:
    """The JSON body of a request. Raises ModelError `unsupported_item`."""
    body = _settings(request.settings)
    if not request.tools:  # servers refuse a choice of nothing
        body = {name: value for name, value in body.items() if name not in _TOOLS_ONLY}
    if stream:
        # without it a stream says nothing of its tokens; `extra` may take it back for a server that minds
        body = {"stream_options": {"include_usage": True}} | body | {"stream": True}
    if request.tools:
        body["tools"] = [chat_tool(tool) for tool in request.tools]
    if request.text_format:
        body["response_format"] = _response_format(request.text_format)
    if request.metadata and request.settings.store:  # only a stored completion may have some
        body["metadata"] = dict(request.metadata)
    return body | {"model": request.model, "messages": to_messages(request.instructions, request.input)}


def chat_tool(tool: Mapping[str, Json]) -> dict[str, Json]:
    """A tool of the Responses API in chat form; what is no function goes to the server as it is."""
    if tool.get("type") != "function" or "function" in tool:
        return dict(tool)
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _settings(settings: ModelSettings) -> dict[str, Json]:
    # `truncation` has no counterpart.
    fields: dict[str, Json] = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_completion_tokens": settings.max_output_tokens,
        "reasoning_effort": settings.reasoning_effort,
        "tool_choice": _tool_choice(settings.tool_choice),
        "parallel_tool_calls": settings.parallel_tool_calls,
        "store": settings.store,
    }
    if "max_tokens" in settings.extra:  # the older name: a server that wants it refuses the newer one
        fields["max_completion_tokens"] = None
    return {name: value for name, value in fields.items() if value is not None} | dict(settings.extra)


def _tool_choice(choice: str | dict[str, Json] | None) -> str | dict[str, Json] | None:
    if isinstance(choice, str):
        return choice if choice in _CHOICES else {"type": "function", "function": {"name": choice}}
    if choice is not None and choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _response_format(text_format: Mapping[str, Json]) -> dict[str, Json]:
    if text_format.get("type") != "json_schema" or "json_schema" in text_format:
        return dict(text_format)
    schema = {name: value for name, value in text_format.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}
