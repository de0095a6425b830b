"""What `turnkeeper dev` shows: lines with the name of who wrote them; in colour on a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TextIO

COLOURS = ("36", "35", "34", "33", "32")
OWN = "dev"
OWN_COLOUR = "1"


class Console:
    """Writes lines. When nobody reads any more it `broken` is set, and the rest is dropped."""

    def __init__(self, names: list[str], stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._width = max(len(name) for name in (*names, OWN))
        self._colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
        self._has_colour = self._stream.isatty() and not os.environ.get("NO_COLOR")
        self.broken = asyncio.Event()

    def say(self, text: str) -> None:
        """A line of our own."""
        self.line(OWN, text)

    def line(self, name: str, text: str) -> None:
        """A line of a child."""
        prefix = f"{name:<{self._width}} |"
        if self._has_colour:
            prefix = f"\x1b[{self._colours.get(name, OWN_COLOUR)}m{prefix}\x1b[0m"
        self._write(f"{prefix} {text}".rstrip() + "\n")

    def _write(self, text: str) -> None:
        if self.broken.is_set():
            return
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except OSError:
            self.broken.set()
