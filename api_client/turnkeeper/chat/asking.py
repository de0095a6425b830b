"""What a person is asked about an approval, and what the answer means."""

from __future__ import annotations

import json
import time

from turnkeeper.chat.lines import Lines
from turnkeeper.chat.screen import Screen
from turnkeeper_client import Client
from turnkeeper_client.approval_snapshots import ApprovalSnapshot
from turnkeeper_storage.errors import Conflict, InvalidInput
from turnkeeper_storage.model import ApprovalReason, ApprovalStatus

HELP = "y: yes; n [reason]: no; edit: yes, with other arguments; always: yes, to this tool in this run"
HELP_IN_DOUBT = "happened [output]: it did; not: it did not, run it now; abort: end the run"
PROMPT = "[y/n/edit/always] "
PROMPT_IN_DOUBT = "[happened/not/abort] "
# between two looks at a call that may still be at work
LOOK_SECONDS = 0.5


class NobodyAnswers(Exception):
    """The lines ended before a decision."""


class Asking:
    """Decides on approvals with what somebody answers; `by` is who that is."""

    def __init__(self, client: Client, lines: Lines, screen: Screen, by: str) -> None:
        self._client = client
        self._lines = lines
        self._screen = screen
        self._by = by

    def decide(self, approval_id: str) -> None:
        """Ask until there is a decision, here or elsewhere. Raises NobodyAnswers."""
        approval = self._client.approval(approval_id)
        if approval.status is not ApprovalStatus.PENDING:
            return
        if not approval.available:
            self._screen.note(
                f"? {approval.tool} is in doubt: its worker died in it, and it may still be at work; "
                f"you are asked when its time is over; or: turnkeeper approvals resolve {approval.id}"
            )
            approval = self._once_available(approval)
            if approval.status is not ApprovalStatus.PENDING:
                return
        in_doubt = approval.reason is ApprovalReason.IN_DOUBT
        self._screen.question(_question(approval))
        while True:
            answer = self._answer(PROMPT_IN_DOUBT if in_doubt else PROMPT)
            try:
                done = self._resolve(approval, answer) if in_doubt else self._decide(approval, answer)
            except InvalidInput as error:
                self._screen.note(str(error))
                continue
            except Conflict as error:
                self._screen.note(f"too late: {error}")
                return
            if done:
                return
            self._screen.note(HELP_IN_DOUBT if in_doubt else HELP)

    def _once_available(self, approval: ApprovalSnapshot) -> ApprovalSnapshot:
        """The approval when somebody can decide it, or has."""
        while approval.status is ApprovalStatus.PENDING and not approval.available:
            time.sleep(LOOK_SECONDS)
            approval = self._client.approval(approval.id)
        return approval

    def _decide(self, approval: ApprovalSnapshot, answer: str) -> bool:
        word, _, rest = answer.partition(" ")
        word, rest = word.lower(), rest.strip()
        if word in ("y", "yes") and not rest:
            self._client.approve(approval.id, by=self._by)
        elif word in ("a", "always") and not rest:
            self._client.approve(approval.id, by=self._by, sticky=True)
        elif word in ("n", "no"):
            self._client.reject(approval.id, by=self._by, reason=rest or None)
        elif word in ("e", "edit"):
            self._client.approve(approval.id, by=self._by, arguments=rest or self._arguments(approval))
        else:
            return False
        return True

    def _resolve(self, approval: ApprovalSnapshot, answer: str) -> bool:
        word, _, rest = answer.partition(" ")
        outcomes = {"happened": "happened", "not": "not_happened", "abort": "abort"}
        outcome = outcomes.get(word.lower())
        if outcome is None:
            return False
        output = rest.strip() if outcome == "happened" else None
        self._client.resolve(approval.id, by=self._by, outcome=outcome, output=output)
        return True

    def _arguments(self, approval: ApprovalSnapshot) -> str:
        self._screen.question(f"arguments as JSON, now: {json.dumps(approval.arguments, ensure_ascii=False)}")
        return self._answer("arguments: ")

    def _answer(self, prompt: str) -> str:
        line = self._lines.read(prompt)
        if line is None:
            raise NobodyAnswers
        return line.strip()


def _question(approval: ApprovalSnapshot) -> str:
    given = approval.arguments
    arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    call = f"{approval.tool}({arguments})"
    if approval.reason is ApprovalReason.IN_DOUBT:
        return f"? {call} is in doubt: its worker died in it. Did it happen?"
    if approval.reason is ApprovalReason.MALFORMED:
        return f"? {call} wants your approval; its arguments are malformed"
    return f"? {call} wants your approval"
