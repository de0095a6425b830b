"""`turnkeeper chat`: messages in, runs followed, until there are no more."""

from __future__ import annotations

import time
from collections.abc import Callable

from turnkeeper.chat.asking import Asking
from turnkeeper.chat.calls import Calls
from turnkeeper.chat.lines import Lines, lines_of_stdin
from turnkeeper.chat.screen import Screen
from turnkeeper.chat.talk import Outcome, Talk
from turnkeeper.cli.options import me
from turnkeeper.cli.output import describe_item
from turnkeeper_client import Client
from turnkeeper_storage.errors import ConfigurationError, InvalidInput, TurnkeeperError
from turnkeeper_storage.items import Item

FAILED = 1
INTERRUPTED = 130
REGISTER_SECONDS = 5.0
HELP = "/history: what was said; /undo: take the last turn back; /exit: leave (or Ctrl-D)"


def run_chat(
    client: Client, session_id: str, *, agent: str | None, message: str | None, by: str | None
) -> int:
    """Talk until the lines end, or say `message` only; the exit code.

    0 when the last message was answered, 1 when not, 130 after Ctrl-C. Blocks. Raises ConfigurationError when
    the agent is not clear, and what the client raises.
    """
    lines, screen = lines_of_stdin(), Screen()
    with Calls(client.settings) as calls:
        asking = Asking(client, lines, screen, by or me("chat"))
        talk = Talk(client, calls, screen, asking)
        chat = Chat(client, session_id, _agent(client, agent), lines, screen, talk)
        try:
            return chat.say(message) if message is not None else chat.converse()
        except KeyboardInterrupt:
            screen.end_line()
            return INTERRUPTED


class Chat:
    """A conversation of one session with one agent."""

    def __init__(
        self, client: Client, session_id: str, agent: str, lines: Lines, screen: Screen, talk: Talk
    ) -> None:
        self._client = client
        self._session_id = session_id
        self._agent = agent
        self._lines = lines
        self._screen = screen
        self._talk = talk
        self._code = 0
        self._commands: dict[str, Callable[[], None]] = {
            "/history": self._show_history,
            "/undo": self._undo,
            "/help": lambda: screen.note(HELP),
        }

    def converse(self) -> int:
        """Take messages until there are no more; the exit code."""
        if self._lines.is_person:
            self._screen.note(f"{self._agent} in session {self._session_id}. {HELP}")
        self._settle_what_waits()
        while (line := self._next_line()) is not None:
            word = line.strip()
            if word in ("/exit", "/quit"):
                break
            if word:
                self._take(word)
        return self._code

    def say(self, text: str) -> int:
        """One message and its answer; the exit code."""
        self._settle_what_waits()
        self._send(text)
        return self._code

    def _take(self, word: str) -> None:
        try:
            if word.startswith("/"):
                self._commands.get(word, lambda: self._screen.note(f"there is no {word}. {HELP}"))()
            else:
                self._send(word)
        except TurnkeeperError as error:
            # a conversation survives what one message cannot do
            if not self._lines.is_person:
                raise
            self._screen.note(str(error))

    def _send(self, text: str) -> None:
        run = self._client.enqueue(self._session_id, text, agent=self._agent, stream=True)
        self._follow(run.id)

    def _follow(self, run_id: str) -> None:
        outcome = self._talk.follow(run_id)
        self._code = 0 if outcome is Outcome.ANSWERED else FAILED

    def _next_line(self) -> str | None:
        try:
            return self._lines.read("> ")
        except KeyboardInterrupt:
            self._screen.line("")
            self._screen.note("Ctrl-C again leaves")
            return self._lines.read("> ")

    def _settle_what_waits(self) -> None:
        # a message would queue behind a run that waits for a person: this person
        waiting = self._client.approvals(session_id=self._session_id, limit=1)
        for approval in waiting.approvals:
            self._screen.note(f"run {approval.run_id} of this session waits for approval")
            self._follow(approval.run_id)

    def _show_history(self) -> None:
        for item in self._client.session(self._session_id).get_items():
            self._screen.line(describe_item(item))

    def _undo(self) -> None:
        """Take back the newest message of the user and all that came after it. Raises SessionBusy."""
        session = self._client.session(self._session_id)
        count = 0
        while (item := session.pop_item()) is not None:
            count += 1
            if _is_question(item):
                break
        self._screen.note(f"took {count} items back" if count else "there is nothing to take back")


def _is_question(item: Item) -> bool:
    return item.get("role") == "user"


def _agent(client: Client, wished: str | None) -> str:
    if wished is not None:
        return wished
    names = _registered(client)
    if len(names) == 1:
        return names[0]
    if names:
        raise InvalidInput("--agent", "is needed", f"use one of: {', '.join(names)}")
    raise ConfigurationError("no worker has registered an agent: start `turnkeeper dev MODULE` first")


def _registered(client: Client) -> list[str]:
    # workers that were started a moment ago register soon
    limit = time.monotonic() + REGISTER_SECONDS
    while not (names := [record.name for record in client.agents()]) and time.monotonic() < limit:
        time.sleep(0.1)
    return names
