"""`turnkeeper approvals` from the outside: what it prints, where, and its exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from typing import Any

import pytest

from tests.fakes.parked import work_on
from tests.fakes.processes import Processes
from tests.fakes.wait import eventually_sync
from tests.unit.test_cli import DEAD_BROKER, Cli, anywhere, cli, lite
from turnkeeper.cli.main import run as run_command

__all__ = ["anywhere", "cli", "lite"]  # fixtures


def parked(url: str, *call_ids: str, session: str = "s", **more: Any) -> list[str]:
    """A run that waits for these calls; the ids of its approvals."""
    found = work_on(url, lambda parking: parking.parked(*call_ids, session=session, **more))
    return [one.id for one in found.approvals]


def test_what_waits_is_listed_shown_and_decided(cli: Cli, migrated_url: str) -> None:
    first, second = parked(migrated_url, "call_1", "call_2")
    table = cli("approvals", "list").out.splitlines()
    assert table[0].split() == ["APPROVAL", "SESSION", "TOOL", "ARGUMENTS", "STATUS", "SINCE"]
    assert table[1].split()[:5] == [second, "s", "refund", '{"order":7}', "pending"]
    run_id = cli("runs", "list", "--json").json["runs"][0]["id"]
    assert f'waits:    {first} refund {{"order":7}}\n' in cli("runs", "show", run_id).out
    shown = cli("approvals", "show", first).out
    assert f"approval:  {first}\n" in shown
    assert "status:    pending\n" in shown
    done = cli("approvals", "approve", first, "--by", "ana", "--note", "checked")
    assert (done.code, done.out, done.err) == (0, f"{first} is approved by ana.\n", "")
    done = cli("approvals", "reject", second, "--by", "ben", "--reason", "too much", "--json")
    assert (done.json["status"], done.json["note"]) == ("rejected", "too much")
    assert cli("approvals", "list").out == "Nothing waits for a person.\n"
    every = cli("approvals", "list", "--status", "all", "--json").json["approvals"]
    assert [one["status"] for one in every] == ["rejected", "approved"]
    assert "note:      checked\n" in cli("approvals", "show", first).out
    assert cli("runs", "list", "--json").json["runs"][0]["status"] == "queued"


def test_many_are_decided_at_once_and_one_that_lost_does_not_hold_up_the_rest(
    lite: Cli, migrated_sqlite: str
) -> None:
    first, second = parked(migrated_sqlite, "call_1", "call_2")
    lite("approvals", "reject", first, "--by", "ben")
    done = lite("approvals", "approve", first, second, "--by", "ana")
    assert (done.code, done.out) == (1, f"{second} is approved by ana.\n")
    assert done.err == f"turnkeeper: approval {first} is rejected; nothing is left to decide\n"
    again = lite("approvals", "approve", first, second, "--by", "ana", "--json")
    assert again.code == 1
    assert [one["id"] for one in again.json["approvals"]] == [second]
    assert [one["id"] for one in again.json["failed"]] == [first]


def test_a_decision_that_lost_exits_with_1_and_tells_the_state(lite: Cli, migrated_sqlite: str) -> None:
    (approval,) = parked(migrated_sqlite)
    lite("approvals", "approve", approval, "--by", "ana")
    done = lite("approvals", "reject", approval, "--by", "ben", "--json")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"turnkeeper: approval {approval} is approved; nothing is left to decide\n"
    assert lite("approvals", "approve", approval, "--by", "ana").code == 0


def test_arguments_are_edited_and_a_decision_sticks(lite: Cli, migrated_sqlite: str) -> None:
    first, _ = parked(migrated_sqlite, "call_1", "call_2")
    options = ("--by", "ana", "--arguments", '{"order": 8}', "--sticky", "--json")
    done = lite("approvals", "approve", first, *options)
    assert (done.json["edited_arguments"], done.json["sticky"]) == ({"order": 8}, True)
    assert lite("approvals", "list", "--json").json["approvals"] == []
    shown = lite("approvals", "show", first).out
    assert 'edited:    {"order":8}\n' in shown
    assert "sticky:    for this tool in this run\n" in shown


def test_a_call_in_doubt_is_resolved(lite: Cli, migrated_sqlite: str) -> None:
    found = work_on(migrated_sqlite, lambda parking: parking.in_doubt(available_in=60))
    approval = found.approvals[0]
    assert "pending (in doubt, not available yet)" in lite("approvals", "show", approval.id).out
    early = lite("approvals", "resolve", approval.id, "not_happened", "--by", "ana")
    assert (early.code, "is not available" in early.err) == (1, True)
    work_on(migrated_sqlite, lambda parking: parking.let_decide(approval))
    assert lite("approvals", "approve", approval.id, "--by", "ana").code == 2
    done = lite("approvals", "resolve", approval.id, "happened", "--by", "ana", "--output", "refunded 5")
    assert (done.code, done.out) == (0, f"{approval.id} is approved by ana.\n")
    assert "outcome:   happened\n" in lite("approvals", "show", approval.id).out


def test_who_decides_is_the_user_of_the_machine_or_must_be_said(
    lite: Cli, migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (approval,) = parked(migrated_sqlite)
    monkeypatch.delenv("USER", raising=False)
    done = lite("approvals", "approve", approval)
    assert done.code == 2
    assert done.err == "turnkeeper: --by: is missing, and $USER is not set; say who decides: --by NAME\n"
    monkeypatch.setenv("USER", "carla")
    assert lite("approvals", "approve", approval, "--json").json["decided_by"] == "carla"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("approve", "apr_1", "--by", "ana"), 1, "there is no approval 'apr_1'"),
        (("show", "run_1"), 1, "there is no approval 'run_1'"),
        (("approve", "apr_1", "--by", "ana", "--arguments", "{"), 2, "--arguments: is no JSON"),
        (("approve", "apr_1", "--by", "ana", "--arguments", "[]"), 2, "--arguments: is list"),
        (("list", "--cursor", "5"), 2, "cursor: is no cursor"),
        (("list", "--limit", "0"), 2, "limit: is 0"),
    ],
)
def test_a_wrong_call_says_what_to_do(lite: Cli, arguments: tuple[str, ...], code: int, told: str) -> None:
    done = lite("approvals", *arguments)
    assert (done.code, done.out) == (code, "")
    assert told in done.err


@pytest.mark.parametrize("name", ["", "list", "show", "approve", "reject", "resolve", "watch"])
def test_every_command_explains_itself(anywhere: Cli, name: str) -> None:
    done = anywhere("approvals", *([name] if name else []), "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage: turnkeeper approvals" in done.out


def test_a_tenant_sees_only_its_own(lite: Cli, migrated_sqlite: str) -> None:
    (approval,) = parked(migrated_sqlite)
    assert lite("approvals", "--tenant", "acme", "list", "--json").json["approvals"] == []
    assert lite("approvals", "--tenant", "acme", "approve", approval, "--by", "eve").code == 1


def test_off_a_terminal_watch_writes_a_line_for_each_that_comes(
    processes: Processes, migrated_sqlite: str
) -> None:
    (first,) = parked(migrated_sqlite)
    environment = {"TURNKEEPER_DATABASE_URL": migrated_sqlite, "TURNKEEPER_BROKER_URL": DEAD_BROKER}
    command = (sys.executable, "-m", "turnkeeper", "approvals", "watch", "--json", "--interval", "0.05")
    watching = processes(*command, env=environment)
    eventually_sync(lambda: first in watching.log, within=30)
    (second,) = parked(migrated_sqlite, session="other")
    eventually_sync(lambda: second in watching.log, within=30)
    os.kill(watching.pid, signal.SIGINT)
    assert watching.wait(30) == 130
    told = [json.loads(line) for line in watching.log.splitlines()]
    assert [one["id"] for one in told] == [first, second]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[int, str]:
    """What `watch` writes on a terminal where these answers are typed."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(text))
    monkeypatch.setattr(sys, "stdout", screen)
    return run_command(["approvals", "watch", "--by", "ana", "--interval", "0.05"]), screen.getvalue()


def test_on_a_terminal_watch_asks_and_decides(
    lite: Cli, migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("a", "b", "c", "d")
    first, second, third, fourth = (parked(migrated_sqlite, session=name)[0] for name in names)
    with monkeypatch.context() as patch:
        code, screen = answer(patch, "what\na\nr\ntoo much\nskip\nq\n")
    assert code == 0
    assert screen.index(first) < screen.index(second) < screen.index(third) < screen.index(fourth)
    assert f"{first} is approved by ana." in screen
    assert f"{second} is rejected by ana." in screen
    assert "note:      too much\n" in lite("approvals", "show", second).out
    left = lite("approvals", "list", "--json").json["approvals"]
    assert [one["id"] for one in left] == [fourth, third]


def test_at_the_end_of_what_is_typed_watch_ends(
    lite: Cli, migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked(migrated_sqlite)
    with monkeypatch.context() as patch:
        code, _ = answer(patch, "")
    assert code == 0
    assert len(lite("approvals", "list", "--json").json["approvals"]) == 1
