"""What the demo says: lines with the seconds since its start, histories, and what was proved."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console

from turnkeeper.cli.output import clean
from turnkeeper.demo.facts import Facts, Waiting
from turnkeeper.demo.proof import Proof
from turnkeeper_client.snapshots import RunSnapshot
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

    @contextlib.contextmanager
    def live(self, who: str) -> Iterator[Callable[[str], None]]:
        """Within the block what is written stands on one line, each piece as it comes."""
        self._write(f"{time.monotonic() - self._since:5.1f} s  {who} reads the answer as it comes: ")
        try:
            yield self._write
        finally:
            self._line("")

    def ended(self, snapshot: RunSnapshot) -> None:
        """How a message ended."""
        why = f" ({snapshot.error.code}: {snapshot.error.message})" if snapshot.error else ""
        self.say(f"{snapshot.session_id}'s message {snapshot.seq} is {snapshot.status.value}{why}")

    def waits(self, waiting: Sequence[Waiting], behind: str) -> None:
        """The sessions whose runs wait for a person, as the database has them now."""
        for one in waiting:
            held = one.owner or one.is_leased
            lease = f"leased by {one.owner or 'somebody'}" if held else "no lease, no worker"
            self.say(f"{one.session}'s refund waits for a person: {one.status.value}, {lease}", "bold")
            for item in one.items:
                is_open = item.get("type") in CALL_TYPES and item.get("call_id") in one.calls
                self._line(f"           {_said(one.session, item)}{'  <- waits' if is_open else ''}")
        self.say(behind)

    def used(self, uses: Sequence[str]) -> None:
        """What this play runs on."""
        self._line(
            "Turnkeeper's demo: a support desk on two worker processes, one of which is killed, "
            "and refunds that wait for a person",
            "bold",
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
                    self._line(f"  {_said(item.session, item.item)}")

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
            self._line(
                f"All {len(proofs)} hold: nothing lost, nothing doubled, nothing done unasked.", "bold green"
            )

    def note(self, text: str) -> None:
        """A line without the time."""
        self._line(text)

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(self._shown(text), style=style or None)

    def _write(self, text: str) -> None:
        self._console.print(self._shown(text), end="")
        self._console.file.flush()

    def _shown(self, text: str) -> str:
        # a letter that the terminal's encoding lacks is no reason to stop
        encoding = self._console.encoding
        return clean(text).encode(encoding, "replace").decode(encoding)


def _said(session: str, item: Item) -> str:
    kind = item.get("type")
    if kind in CALL_TYPES:
        return f"   calls {item.get('name')}({_arguments(item)})"
    if kind in OUTPUT_TYPES:
        return f"   gets  {item.get('output')}"
    if "role" in item:
        who = "desk" if item["role"] == "assistant" else session
        return f"{who}: {text_of(item)}"
    return f"   ({kind})"


def _arguments(item: Item) -> str:
    try:
        given = json.loads(item.get("arguments") or "{}")
    except ValueError:
        return "…"
    return ", ".join(f"{name}={value!r}" for name, value in given.items()) if isinstance(given, dict) else "…"
