"""What is logged of messages that Celery cannot take: that they came, and never what they say.

Celery logs such a message whole, with its headers, and those show its arguments too. A job whose task's name
is mistyped, or whose body is cut off, would leave somebody's input in the logs of a worker.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery.worker.consumer import consumer

_UNTAKEN = "a message was thrown away: "


def hide_contents() -> None:
    """Keep what messages say out of the log of Celery's consumer, from now on, in this process."""
    logger = logging.getLogger(consumer.__name__)
    if not any(isinstance(present, WithoutContents) for present in logger.filters):
        logger.addFilter(WithoutContents())


class WithoutContents(logging.Filter):
    """Says anew, in a line of its own, what Celery says of a message that it cannot take."""

    def filter(self, record: logging.LogRecord) -> bool:
        """True; the record is changed when it holds a message."""
        told = _told(str(record.msg), record.args if isinstance(record.args, tuple) else ())
        if told is not None:
            record.msg, record.args = _UNTAKEN + told, ()
            # of an exception too the text may be the message's
            record.exc_info = record.exc_text = None
        return True


def _told(format: str, args: tuple[Any, ...]) -> str | None:
    match format:
        case consumer.UNKNOWN_FORMAT:
            return "it is no task; is it for another queue?"
        case consumer.UNKNOWN_TASK_ERROR:
            name, _, headers, *_ = args
            task_id = headers.get("id") if isinstance(headers, Mapping) else None
            return f"no task {name} is known to this worker (message {task_id})"
        case consumer.INVALID_TASK_ERROR:
            return f"{type(args[0]).__name__}: {args[0]}"
        case consumer.MESSAGE_DECODE_ERROR:
            error, content_type, encoding, *_ = args
            return f"its body cannot be read ({type(error).__name__}, {content_type}, {encoding})"
    return None
