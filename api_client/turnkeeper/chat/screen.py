"""What a conversation shows: answers on standard output as they come, all else on standard error."""

from __future__ import annotations

import os
import sys

from turnkeeper.cli.output import clean

DIM, RESET = "\x1b[2m", "\x1b[0m"
LONG = 500


class Screen:
    """Writes pieces of text, and notes on lines of their own."""

    def __init__(self) -> None:
        self._has_colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        self._is_mid_line = False

    def piece(self, text: str) -> None:
        """A piece of an answer, without a line's end."""
        shown = clean(text)
        if shown:
            self._write(shown)
            self._is_mid_line = not shown.endswith("\n")

    def end_line(self) -> None:
        """Whatever comes next begins a line."""
        if self._is_mid_line:
            self._write("\n")
            self._is_mid_line = False

    def line(self, text: str) -> None:
        """A whole line of output."""
        self.end_line()
        self._write(clean(text) + "\n")

    def note(self, text: str) -> None:
        """A line beside the conversation; a long one is cut."""
        shown = clean(text)
        self.question(shown if len(shown) <= LONG else shown[: LONG - 1] + "…")

    def question(self, text: str) -> None:
        """The same, never cut: nobody consents to what is not shown."""
        self.end_line()
        shown = clean(text)
        coloured = f"{DIM}{shown}{RESET}" if self._has_colour else shown
        sys.stderr.write(_encodable(coloured, sys.stderr.encoding) + "\n")
        sys.stderr.flush()

    def _write(self, text: str) -> None:
        sys.stdout.write(_encodable(text, sys.stdout.encoding))
        sys.stdout.flush()


def _encodable(text: str, encoding: str | None) -> str:
    name = encoding or "utf-8"
    return text.encode(name, "backslashreplace").decode(name)
