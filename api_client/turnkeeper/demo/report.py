"""What the demo says: lines with the seconds since its start, histories, and what was proved."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence

from rich.console import Console

from turnkeeper.cli.output import clean
from turnkeeper.demo.facts import Facts, ItemFact
from turnkeeper.demo.proof import Proof
from turnkeeper_storage.items import CALL_TYPES, OUTPUT_TYPES, Item, text_of


class Report:
    """Writes to standard output: in colour on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._since = time.monotonic()

    def say(self, text: str, style: str = "") -> None:
        """A line of the story."""
        self._line(f"{time.monotonic() - self._since:5.1f} s  {text}", style)

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Say what is waited for, on a terminal with something that turns."""
        if not self._console.is_terminal:
            self.say(text)
            yield
            return
        with self._console.status(clean(text)):
            yield

    def used(self, uses: Sequence[str]) -> None:
        """What this play runs on."""
        self._line(
            "Turnkeeper's demo: a support desk on two worker processes, one of which is killed", "bold"
        )
        for line in uses:
            self._line(f"  {line}")

    def histories(self, facts: Facts) -> None:
        """The sessions as they stand in the database."""
        for session in facts.sessions:
            self._line("")
            self._line(f"The history of {session.id}", "bold")
            for item in facts.items:
                if item.session == session.id:
                    self._line(f"  {_described(item)}")

    def proved(self, proofs: Sequence[Proof]) -> None:
        """Each line of the summary with its mark, and the verdict."""
        self._line("")
        self._line("What was proved", "bold")
        for proof in proofs:
            self._line(
                f"  {'ok    ' if proof.holds else 'FAILED'}  {proof.text}", "" if proof.holds else "red"
            )
            for fault in proof.faults:
                self._line(f"            {fault}", "red")
        failed = sum(not proof.holds for proof in proofs)
        if failed:
            self._line(f"{failed} of {len(proofs)} could NOT be proved.", "bold red")
        else:
            self._line(f"All {len(proofs)} hold: nothing lost, nothing doubled.", "bold green")

    def note(self, text: str) -> None:
        """A line without the time."""
        self._line(text)

    def _line(self, text: str, style: str = "") -> None:
        # a letter that the terminal's encoding lacks is no reason to stop
        encoding = self._console.encoding
        shown = clean(text).encode(encoding, "replace").decode(encoding)
        self._console.print(shown, style=style or None)


def _described(fact: ItemFact) -> str:
    item = fact.item
    kind = item.get("type")
    if kind in CALL_TYPES:
        return f"   calls {item.get('name')}({_arguments(item)})"
    if kind in OUTPUT_TYPES:
        return f"   gets  {item.get('output')}"
    if "role" in item:
        who = "desk" if item["role"] == "assistant" else fact.session
        return f"{who}: {text_of(item)}"
    return f"   ({kind})"


def _arguments(item: Item) -> str:
    try:
        given = json.loads(item.get("arguments") or "{}")
    except ValueError:
        return "…"
    return ", ".join(f"{name}={value!r}" for name, value in given.items()) if isinstance(given, dict) else "…"
