"""One tool call, from its arguments to the text that the model is given."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.model import ToolCall
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tools import AnyTool, InvalidArguments
from turnkeeper_worker.tools_at_work import at_work
from turnkeeper_worker.traced_calls import executing, tool_failed

_log = logging.getLogger(__name__)

# An exception's text is for the model to learn from: a novel would only fill its context.
MAX_ERROR_CHARACTERS = 2_000
# for a coroutine to end after it was cancelled: it may have something to close
STOP_SECONDS = 5.0
# what did not end, and nobody waits for: the loop holds tasks weakly
_left: set[asyncio.Task[Any]] = set()


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
    `tool.timeout` covers the wait for a thread. What does not end then can only be left behind: a thread, and
    a coroutine that ignores its cancellation. Raises RunFailure for a fault of a tool with `on_error="fail"`:
    `tool_failed`, `tool_timeout`, `tool_output_unserialisable` or `tool_output_too_large`. Cancellation
    passes through.
    """
    with executing(tool.name, call) as told:
        told.output = await _executed(tool, call, context, threads, max_output_bytes)
        return told.output


async def _executed(
    tool: AnyTool, call: ToolCall, context: RunContext[Any], threads: Executor, max_output_bytes: int
) -> str:
    try:
        arguments = tool.validate(call.arguments)
    except InvalidArguments as error:
        # Always the model's to mend, whatever on_error says: nothing was run.
        tool_failed("invalid_arguments")
        return f"Tool error: invalid arguments: {error}"
    try:
        return await _in_time(tool, _work(tool, call, context, arguments, threads, max_output_bytes))
    except _Fault as fault:
        tool_failed(fault.code)
        _log.warning("run %s: tool %s, call %s: %s", context.run_id, tool.name, call.call_id, fault.code)
        if tool.on_error != "fail":
            return f"Tool error: {fault.for_model}"
        failure = RunFailure(fault.code, f"tool {tool.name!r} {fault.for_people}")
        failure.__cause__ = fault.__cause__
    # out here, where it does not hold on to the fault, whose frames hold what the tool returned
    raise failure


async def _work(
    tool: AnyTool,
    call: ToolCall,
    context: RunContext[Any],
    arguments: dict[str, object],
    threads: Executor,
    limit: int,
) -> str | BaseException:
    """The output, or what was raised: as a value, since a SystemExit that leaves a task ends the loop."""
    mine = context.for_call(call.call_id)
    given = (mine,) if tool.takes_context else ()
    try:
        with at_work(tool.name, context.run_id, call.call_id):
            if tool.is_async:
                value: object = tool.function(*given, **arguments)
            else:
                value = await in_thread(threads, lambda: tool.function(*given, **arguments))
            return _text(tool, await value if inspect.isawaitable(value) else value, limit)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error  # something inside of the tool was cancelled, not the run
    except _Fault as fault:
        # its frames hold what the tool returned, however large
        return fault.with_traceback(None)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it was, it is the model's or the run's
        return error


async def _in_time(tool: AnyTool, work: Coroutine[Any, Any, str | BaseException]) -> str:
    """What the work gives within the tool's time-out. Raises _Fault."""
    task = asyncio.create_task(work, name=f"tool:{tool.name}")
    try:
        await asyncio.wait({task}, timeout=tool.timeout)
    except asyncio.CancelledError:
        await _stop(tool, task)
        raise
    if not task.done():
        await _stop(tool, task)
    if not task.done() or task.cancelled():
        text = f"timed out after {tool.timeout:g} s"
        raise _Fault("tool_timeout", text, text)
    given = task.result()
    if isinstance(given, str):
        return given
    if isinstance(given, _Fault):
        raise given
    raise _raised(given) from given


async def _stop(tool: AnyTool, task: asyncio.Task[Any]) -> None:
    """Cancel what a tool does, and leave behind what does not end then."""
    task.cancel()
    _left.add(task)
    task.add_done_callback(_left.discard)
    await asyncio.wait({task}, timeout=STOP_SECONDS)
    if not task.done():
        _log.warning("tool %s ignores that it is cancelled: it is left behind", tool.name)


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


def _text(tool: AnyTool, value: object, limit: int) -> str:
    """The value as text of at most `limit` bytes; what is far too large is not copied to find that out."""
    if isinstance(value, str):
        if len(value) > limit:  # a character has a byte at least
            raise _too_large(len(value) if value.isascii() else None, limit)
        return _bounded(_storable(value), limit)
    try:
        data = to_json(value, by_alias=True)
        if len(data) > limit:
            raise _too_large(len(data), limit)
        return _bounded(_storable(data.decode()), limit)
    except (PydanticSerializationError, UnicodeDecodeError, RecursionError) as error:
        text = f"returned {type(value).__name__}, which has no JSON form"
        raise _Fault("tool_output_unserialisable", f"the tool {text}", text) from error


def _storable(text: str) -> str:
    # What no JSON column takes: NUL, and halves of surrogate pairs.
    return text.encode(errors="replace").decode().replace("\x00", "�")


def _bounded(text: str, limit: int) -> str:
    size = len(text.encode())
    if size > limit:
        raise _too_large(size, limit)
    return text


def _too_large(size: int | None, limit: int) -> _Fault:
    over = f"{'bytes' if size is None else f'{size:,} bytes'} are over the limit of {limit:,}"
    return _Fault(
        "tool_output_too_large",
        f"the output's {over}; ask for less",
        f"returned too much: its {over}; return less, or raise TURNKEEPER_MAX_OUTPUT_BYTES",
    )
