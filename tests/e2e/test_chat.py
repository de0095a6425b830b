"""`turnkeeper chat` beside a `turnkeeper dev`, as somebody uses it; its lines come over a pipe."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.dev import COMMAND, Dev, newcomers_environment, write_agents
from tests.fakes.wait import eventually_sync


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A `turnkeeper dev` with the practice model, for all tests here; each has a session of its own."""
    folder = tmp_path_factory.mktemp("dev")
    write_agents(folder)
    dev = Dev(folder, "--no-reload")
    try:
        dev.wait_for("| ready.")
        yield dev
    finally:
        dev.end()


class Chat:
    """A `turnkeeper chat` whose lines are typed one by one."""

    def __init__(self, folder: Path, session: str, log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*COMMAND, "chat", session],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=newcomers_environment(),
                cwd=folder,
                text=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def wait_for(self, text: str) -> None:
        with contextlib.suppress(AssertionError):
            eventually_sync(lambda: text in self.output or self._process.poll() is not None, within=30)
        assert text in self.output, self.output

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Close its input; its exit code."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            return self._process.wait(30)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it, if it still runs."""
        self._process.kill()
        self._process.wait(10)


def _status(dev: Dev, session: str) -> list[str]:
    listed = dev.command("runs", "list", "--session", session, "--json")
    return [str(run["status"]) for run in json.loads(listed.stdout)["runs"]]


def test_lines_of_a_pipe_are_answered_one_after_the_other(dev: Dev) -> None:
    done = dev.command("chat", "pipe", stdin="Where is order 7?\n\nhello\n")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == '[practice model] Here is what I found: order_status said "order 7 is on its way".'
    assert second.startswith('[practice model] I follow rules and am no AI. You said: "hello".')
    assert done.stderr.splitlines() == [
        '→ order_status({"order_id": "7"})',
        "← order_status: order 7 is on its way",
    ]


def test_one_message_ends_with_its_answer(dev: Dev) -> None:
    done = dev.command("chat", "one", "--message", "hello")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert 'You said: "hello"' in done.stdout


def test_a_message_that_is_not_answered_is_told_with_exit_code_1(dev: Dev) -> None:
    done = dev.command("chat", "failing", "--message", "hello !error 400")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the run is failed: model_" in done.stderr


def test_the_history_is_shown_and_the_last_turn_taken_back(dev: Dev) -> None:
    lines = ("one", "Where is order 7?", "/undo", "/history", "/undo", "/undo", "/nonsense", "/exit", "never")
    done = dev.command("chat", "undo", stdin="\n".join(lines))
    assert done.returncode == 0, done.stderr
    history = done.stdout.splitlines()[2:]
    assert [line.partition(":")[0] for line in history] == ["user", "assistant"]
    assert history[0] == "user: one"
    notes = [line for line in done.stderr.splitlines() if line[0] not in "→←"]
    assert notes[:3] == ["took 4 items back", "took 2 items back", "there is nothing to take back"]
    assert notes[3].startswith("there is no /nonsense. ")
    assert _status(dev, "undo") == ["completed", "completed"]


def test_ctrl_c_cancels_the_run_in_work_and_the_conversation_goes_on(dev: Dev, tmp_path: Path) -> None:
    chat = Chat(dev.folder, "ctrl-c", tmp_path / "chat.log")
    try:
        chat.type("hello !slow 15")
        eventually_sync(lambda: _status(dev, "ctrl-c") == ["running"], within=20, every=0.2)
        chat.interrupt()
        chat.wait_for("cancelling the run")
        chat.wait_for("the run is cancelled")
        chat.type("still there?")
        chat.wait_for('You said: "still there?"')
    finally:
        code = chat.end()
    assert code == 0, chat.output
    assert _status(dev, "ctrl-c") == ["completed", "cancelled"]


def test_a_second_ctrl_c_leaves(dev: Dev, tmp_path: Path) -> None:
    chat = Chat(dev.folder, "twice", tmp_path / "chat.log")
    try:
        chat.type("hello !slow 10")
        eventually_sync(lambda: _status(dev, "twice") == ["running"], within=20, every=0.2)
        # or the run might be cancelled before the second
        with dev.workers_stopped():
            chat.interrupt()
            chat.wait_for("cancelling the run")
            chat.interrupt()
            code = chat.end()
    finally:
        chat.kill()
    assert code == 130, chat.output
    assert "Traceback" not in chat.output


@pytest.mark.parametrize(
    ("answers", "output"),
    [
        (("maybe", "y"), "order 7 was refunded"),
        (("always",), "order 7 was refunded"),
        (("edit", '{"order_id": "8"}'), "order 8 was refunded"),
        (("edit", '{"order": 8}', 'edit {"order_id": "9"}'), "order 9 was refunded"),
    ],
    ids=["yes", "always", "edit", "edit-twice"],
)
def test_an_approval_is_asked_for_and_the_run_goes_on(
    dev: Dev, request: pytest.FixtureRequest, answers: tuple[str, ...], output: str
) -> None:
    session = f"approve-{request.node.callspec.id}"
    done = dev.command("chat", session, stdin="\n".join(("Refund order 7", *answers)))
    assert done.returncode == 0, done.stderr
    assert '? refund({"order_id": "7"}) wants your approval' in done.stderr
    assert output in done.stdout


def test_a_call_that_is_refused_does_not_run_and_the_model_is_told_why(dev: Dev) -> None:
    done = dev.command("chat", "refuse", stdin="Refund order 7\nn it is too late\n")
    assert done.returncode == 0, done.stderr
    assert "was refunded" not in done.stdout
    assert "it is too late" in done.stdout


def test_an_approval_that_nobody_answered_is_asked_again_by_the_next_chat(dev: Dev) -> None:
    left = dev.command("chat", "later", stdin="Refund order 7\n")
    assert left.returncode == 1
    assert "the run waits: turnkeeper approvals approve apr_" in left.stderr
    assert _status(dev, "later") == ["awaiting_approval"]
    done = dev.command("chat", "later", stdin="y\nthank you\n")
    assert done.returncode == 0, done.stderr
    assert "order 7 was refunded" in done.stdout
    assert 'You said: "thank you"' in done.stdout
