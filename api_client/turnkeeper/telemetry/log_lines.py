"""Lines of logs: for people, or as JSON. Each says which run it is about, and none what that is about.

A traceback is told as types and places: the message of an exception may hold what a run is about, or the
parameters of a statement. Ours do not, and are told.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from datetime import UTC, datetime
from pathlib import PurePath
from types import TracebackType

from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.log_context import run_place
from turnkeeper_storage.tracing import trace_id_of

# frames of one exception, the innermost ones
MOST_FRAMES = 30
_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class TextLines(logging.Formatter):
    """What another formatter writes, with the run that it is about at its end."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback where there is one."""
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = exception_text(record.exc_info[1])
        line = self._inner.format(record)
        fields = fields_of()
        if not fields:
            return line
        first, newline, rest = line.partition("\n")
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        return f"{first} [{told}]{newline}{rest}"


class JsonLines(logging.Formatter):
    """One JSON object per line: `time` (UTC), `level`, `logger`, `message`, `pid`, the run, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": os.getpid(),
            **fields_of(),
        }
        if record.name.startswith("turnkeeper"):  # what others add may be anything
            line |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = exception_text(record.exc_info[1])
        return json.dumps(line, default=str)


def fields_of() -> dict[str, str | int]:
    """What is said of the run that is worked on here; outside of runs of the trace only, if there is one."""
    place = run_place()
    if place is not None:
        return place.fields()
    trace_id = trace_id_of(None)
    return {} if trace_id is None else {"trace_id": trace_id}


def exception_text(error: BaseException) -> str:
    """An exception and what led to it: types and places, and the messages of our own errors."""
    parts: list[str] = []
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        parts.append("\n".join([_head(following), *_frames(following.__traceback__)]))
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return "\ncaused by ".join(parts)


def _head(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{name}: {error}" if isinstance(error, TurnkeeperError) else name


def _frames(trace: TracebackType | None) -> list[str]:
    # without the lines of the source: looking them up would read files
    frames = list(traceback.walk_tb(trace))[-MOST_FRAMES:]
    return [f"  {PurePath(f.f_code.co_filename).name}:{line} {f.f_code.co_qualname}" for f, line in frames]
