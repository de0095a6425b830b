"""One tool call, from its arguments to the text that the model is given."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.model import ToolCall
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import AnyTool, InvalidArguments

_log = logging.getLogger(__name__)

# An exception's text is for the model to learn from: a novel would only fill its context.
MAX_ERROR_CHARACTERS = 2_000


class _Fault(Exception):
    """A call went wrong: a text for the model, and code and text for the run if the tool wants it to fail."""

    def __init__(self, code: str, for_model: str, for_people: str) -> None:
        super().__init__(code)
        self.code = code
        self.for_model = for_model
        self.for_people = for_people


async def execute(
    tool: AnyTool, call: ToolCall, context: RunContext[Any], *, threads: Executor, max_output_bytes: int
) -> str:
    """Run the call and return the output for the model, an error's text included.

    An async function runs on the loop, a sync one in `threads` with the context variables of here;
    `tool.timeout` covers the wait for a thread, and a thread that is late cannot be stopped, only left
    behind. Raises RunFailure for a fault of a tool with `on_error="fail"`: `tool_failed`, `tool_timeout`,
    `tool_output_unserialisable` or `tool_output_too_large`. Cancellation passes through.
    """
    try:
        arguments = tool.validate(call.arguments)
    except InvalidArguments as error:
        # Always the model's to mend, whatever on_error says: nothing was run.
        return f"Tool error: invalid arguments: {error}"
    try:
        value = await _call(tool, context.for_call(call.call_id), arguments, threads)
        return _bounded(tool, _text(tool, value), max_output_bytes)
    except _Fault as fault:
        _log.warning("run %s: tool %s, call %s: %s", context.run_id, tool.name, call.call_id, fault.code)
        if tool.on_error == "fail":
            raise RunFailure(fault.code, f"tool {tool.name!r} {fault.for_people}") from fault.__cause__
        return f"Tool error: {fault.for_model}"


async def _call(
    tool: AnyTool, context: RunContext[Any], arguments: dict[str, object], threads: Executor
) -> object:
    given = (context,) if tool.takes_context else ()
    try:
        async with asyncio.timeout(tool.timeout) as limit:
            if tool.is_async:
                result: object = tool.function(*given, **arguments)
            else:
                result = await in_thread(threads, lambda: tool.function(*given, **arguments))
            return await result if inspect.isawaitable(result) else result
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _raised(error) from error  # something inside of the tool was cancelled, not the run
    except _Fault:
        raise
    except (Exception, SystemExit) as error:
        if limit.expired() and isinstance(error, TimeoutError):
            text = f"timed out after {tool.timeout:g} s"
            raise _Fault("tool_timeout", text, text) from error
        raise _raised(error) from error


async def in_thread(threads: Executor, function: Callable[[], object]) -> object:
    """What the function returns, called in a thread with the context variables of here.

    What it raises comes as the cause of another exception.
    """

    def guarded() -> tuple[object, BaseException | None]:
        # As a value: a StopIteration set on a future would leave its waiter hanging.
        try:
            return function(), None
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            return None, error

    within = contextvars.copy_context()
    value, error = await asyncio.get_running_loop().run_in_executor(threads, within.run, guarded)
    if error is not None:
        raise _raised(error) from error
    return value


def _raised(error: BaseException) -> _Fault:
    kind = type(error).__name__
    text = str(error)[:MAX_ERROR_CHARACTERS]
    return _Fault("tool_failed", f"{kind}: {text}" if text else kind, f"raised {kind}")


def _text(tool: AnyTool, value: object) -> str:
    if isinstance(value, str):
        return _storable(value)
    try:
        return _storable(to_json(value, by_alias=True).decode())
    except (PydanticSerializationError, UnicodeDecodeError, RecursionError) as error:
        text = f"returned {type(value).__name__}, which has no JSON form"
        raise _Fault("tool_output_unserialisable", f"the tool {text}", text) from error


def _storable(text: str) -> str:
    # What no JSON column takes: NUL, and halves of surrogate pairs.
    return text.encode(errors="replace").decode().replace("\x00", "�")


def _bounded(tool: AnyTool, text: str, limit: int) -> str:
    size = len(text.encode())
    if size <= limit:
        return text
    over = f"{size:,} bytes are over the limit of {limit:,}"
    raise _Fault(
        "tool_output_too_large",
        f"the output's {over}; ask for less",
        f"returned too much: its {over}; return less, or raise TURNKEEPER_MAX_OUTPUT_BYTES",
    )
