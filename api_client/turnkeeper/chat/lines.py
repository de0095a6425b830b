"""Where the lines of a conversation come from: a person at a terminal, or standard input as it is."""

from __future__ import annotations

import contextlib
import sys
from typing import Protocol, TextIO


class Lines(Protocol):
    """A source of lines. `is_person`: somebody sits there and sees what is asked."""

    is_person: bool

    def read(self, prompt: str) -> str | None:
        """The next line, None at the end. Raises KeyboardInterrupt."""


class TerminalLines:
    """Lines with a prompt, editing and a history."""

    is_person = True

    def __init__(self) -> None:
        # its import is what gives `input` editing
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401

    def read(self, prompt: str) -> str | None:
        try:
            return input(prompt)
        except EOFError:
            sys.stdout.write("\n")
            return None


class PipedLines:
    """Lines of a stream, without prompts."""

    is_person = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def read(self, prompt: str) -> str | None:
        line = self._stream.readline()
        return line.rstrip("\r\n") if line else None


def lines_of_stdin() -> Lines:
    """A terminal's when there is one for both directions."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return TerminalLines()
    return PipedLines(sys.stdin)
