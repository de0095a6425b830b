"""One run of a conversation: followed from its first event to its last."""

from __future__ import annotations

import json
from enum import Enum

from turnkeeper.chat.asking import Asking, NobodyAnswers
from turnkeeper.chat.calls import Calls
from turnkeeper.chat.screen import Screen
from turnkeeper.cli.output import as_text
from turnkeeper_client import Client
from turnkeeper_client.events import RunEvent
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import EventType, RunStatus


class Outcome(Enum):
    """How following a run ended."""

    ANSWERED = "answered"
    NOT_ANSWERED = "not answered"
    WAITS = "waits"


class Talk:
    """Follows runs, one after the other."""

    def __init__(self, client: Client, calls: Calls, screen: Screen, asking: Asking) -> None:
        self._client = client
        self._calls = calls
        self._screen = screen
        self._asking = asking

    def follow(self, run_id: str) -> Outcome:
        """Show a run until it has ended. The first Ctrl-C cancels it; a second raises KeyboardInterrupt."""
        view = _View(run_id, self._calls, self._screen)
        try:
            return self._until_the_end(view)
        except KeyboardInterrupt:
            self._screen.note("cancelling the run; Ctrl-C again leaves it to itself")
            self._client.cancel(run_id)
            return self._until_the_end(view)

    def _until_the_end(self, view: _View) -> Outcome:
        for event in self._client.events(view.run_id, after=view.cursor):
            if event.type == EventType.APPROVAL_REQUESTED:
                view.catch_up()
                try:
                    self._asking.decide(str(event.data["approval_id"]))
                except NobodyAnswers:
                    self._screen.note(
                        f"the run waits: turnkeeper approvals approve {event.data['approval_id']}"
                    )
                    return Outcome.WAITS
            # only now, so that one that was left in the middle is asked again
            view.show(event)
        return view.ended(self._client.get(view.run_id))


class _View:
    """What of a run is on the screen. `cursor`: where to go on."""

    def __init__(self, run_id: str, calls: Calls, screen: Screen) -> None:
        self.run_id = run_id
        self.cursor = "0"
        self._calls = calls
        self._screen = screen
        self._text = ""
        self._said: set[str] = set()
        self._answered: set[str] = set()

    def show(self, event: RunEvent) -> None:
        """Put an event on the screen."""
        if event.type == "delta.text":
            self._catch_up_once()
            self._text += str(event.data.get("text", ""))
            self._screen.piece(str(event.data.get("text", "")))
        elif event.type == EventType.TURN_FINISHED:
            self._screen.end_line()
            if event.data.get("calls"):
                self._text = ""
                self.catch_up()
        elif event.type == EventType.TURN_RESTARTED:
            self._text = ""
            self._screen.note("(the model is asked again; what it said last does not count)")
        elif event.type == EventType.APPROVAL_DECIDED:
            self._screen.note(f"{event.data.get('status')} by {event.data.get('by')}")
        self.cursor = event.cursor

    def catch_up(self) -> None:
        """Show calls and outputs that are new."""
        for call in self._calls.of(self.run_id):
            if call.call_id not in self._said:
                self._said.add(call.call_id)
                self._screen.note(f"→ {call.name}({call.arguments})")
            if call.output is not None and call.call_id not in self._answered:
                self._answered.add(call.call_id)
                self._screen.note(f"← {call.name}: {call.output}")

    def ended(self, run: RunSnapshot) -> Outcome:
        """Show what is not on the screen yet, and how it ended."""
        if self._said:
            self.catch_up()
        self._screen.end_line()
        if run.status is RunStatus.COMPLETED:
            if not _says(self._text, run.output):
                self._screen.line(as_text(run.output))
            return Outcome.ANSWERED
        why = f": {run.error.code}: {run.error.message}" if run.error else ""
        self._screen.note(f"the run is {run.status.value}{why}")
        return Outcome.NOT_ANSWERED

    def _catch_up_once(self) -> None:
        # the first word of an answer comes after all outputs of the turn before
        if self._said - self._answered:
            self.catch_up()


def _says(text: str, output: Json) -> bool:
    if isinstance(output, str):
        return text == output
    try:
        return bool(json.loads(text) == output)
    except ValueError:
        return False
