"""`turnkeeper sessions` info, set, delete, export, import and edits from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.test_cli import Cli, anywhere, cli, lite
from turnkeeper_client import Client
from turnkeeper_storage.sessions.memory import MemorySession

__all__ = ["anywhere", "cli", "lite"]  # fixtures


def test_a_session_is_described_and_shown(cli: Cli) -> None:
    done = cli(
        "sessions",
        "set",
        "s",
        "--owner",
        "ana",
        "--metadata",
        '{"plan": "pro"}',
        "--keep-seconds",
        "60",
        "--json",
    )
    assert (done.code, done.err) == (0, "")
    assert (done.json["owner"], done.json["metadata"]) == ("ana", {"plan": "pro"})
    assert done.json["retention_seconds"] == 60
    shown = cli("sessions", "info", "s").out
    assert "owner:    ana\n" in shown
    assert "kept:     60 s after its last change\n" in shown
    assert "store:    nothing stored yet\n" in shown
    cleared = cli("sessions", "set", "s", "--owner", "none", "--metadata", "none", "--keep-seconds", "none")
    assert "owner:\n" in cleared.out
    assert "kept:     as the setting says\n" in cleared.out
    assert cli("sessions", "list", "--owner", "ana").out == "No sessions.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--owner: is missing"),
        (("--metadata", "[1]"), "--metadata: is list"),
        (("--metadata", "{"), "--metadata: is no JSON"),
        (("--keep-seconds", "soon"), "--keep-seconds: is no number"),
        (("--keep-seconds", "-1"), "retention_seconds: is -1"),
        (("--owner", "a\nb"), "owner: has control characters"),
    ],
)
def test_what_cannot_be_set_is_told(lite: Cli, arguments: tuple[str, ...], said: str) -> None:
    done = lite("sessions", "set", "s", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_session_that_is_not_there_is_told(lite: Cli) -> None:
    for command in (("info", "s"), ("delete", "s", "--yes"), ("export", "s")):
        done = lite("sessions", *command)
        assert (done.code, done.out) == (1, "")
        assert "there is no session 's'" in done.err


def test_a_session_is_deleted_only_when_that_is_sure(lite: Cli) -> None:
    lite("sessions", "add", "s", "hello")
    refused = lite("sessions", "delete", "s")
    assert (refused.code, "add --yes" in refused.err) == (2, True)
    assert lite("sessions", "delete", "s", "--yes", "--by", "ana").out == "Deleted s.\n"
    assert lite("sessions", "list").out == "No sessions.\n"


def test_who_edited_is_listed(cli: Cli) -> None:
    assert cli("sessions", "edits").out == "No edits.\n"
    cli("sessions", "add", "s", "a secret", "--by", "ana")
    cli("sessions", "pop", "s", "--by", "ben")
    cli("sessions", "set", "s", "--owner", "carl", "--by", "carl")
    cli("sessions", "clear", "s", "--yes")
    table = cli("sessions", "edits", "s").out
    assert table.splitlines()[0].split() == ["WHEN", "(UTC)", "SESSION", "EDIT", "BY", "ITEMS"]
    assert [line.split()[3:] for line in table.splitlines()[2:]] == [
        ["update", "carl", "owner"],
        ["pop", "ben", "1"],
        ["add", "ana", "1"],
    ]
    assert "secret" not in table
    assert [one["action"] for one in cli("sessions", "edits", "--limit", "1", "--json").json["edits"]] == [
        "clear"
    ]
    assert "More: --cursor edt_" in cli("sessions", "edits", "--limit", "1").out


def test_a_session_goes_through_a_file_and_back(cli: Cli, tmp_path: Path) -> None:
    cli("sessions", "add", "s", "hällo")
    file = tmp_path / "s.jsonl"
    done = cli("sessions", "export", "s", "-o", str(file))
    assert (done.code, done.out, done.err) == (0, "", f"Wrote 1 items to {file}.\n")
    assert cli("sessions", "export", "s").out == file.read_text(encoding="utf-8")
    made = cli("sessions", "import", str(file), "--as", "copy", "--json")
    assert (made.code, made.json["id"], made.json["items"]) == (0, "copy", 1)
    assert cli("sessions", "show", "copy").out == "user: hällo\n"
    piped = cli("sessions", "import", "-", "--as", "piped", stdin=file.read_text(encoding="utf-8"))
    assert piped.code == 0, piped.err


def test_files_that_do_not_do_are_told(lite: Cli, tmp_path: Path) -> None:
    lite("sessions", "add", "s", "hello")
    there = tmp_path / "there"
    there.write_text("{}")
    for arguments, said in (
        (("export", "s", "-o", str(there)), "--output"),
        (("import", str(tmp_path / "nowhere")), "FILE"),
        (("import", str(there)), "line 1: is no header"),
    ):
        done = lite("sessions", *arguments)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
    assert there.read_text() == "{}"
    document = json.loads(lite("sessions", "list", "--json").out)
    assert [one["id"] for one in document["sessions"]] == ["s"]


def test_an_import_into_a_session_that_is_there_is_refused(lite: Cli, tmp_path: Path) -> None:
    lite("sessions", "add", "s", "hello")
    lines = lite("sessions", "export", "s").out
    done = lite("sessions", "import", "-", stdin=lines)
    assert (done.code, "has runs or items already" in done.err) == (1, True)


BROKEN = [
    {"role": "user", "content": "a secret"},
    {"type": "function_call", "call_id": "call_1", "name": "t", "arguments": "{}"},
]


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """The file of a history with a call that has no output."""
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(BROKEN))
    return str(file)


def test_broken_histories_are_found_and_repaired(cli: Cli, broken: str) -> None:
    cli("sessions", "add", "s", "--items", broken)
    cli("sessions", "add", "whole", "hello")
    found = cli("sessions", "check", "--all")
    assert found.code == 1
    assert [line.split() for line in found.out.splitlines()[:2]] == [
        ["SESSION", "ITEM", "WHAT", "WHICH"],
        ["s", "1", "a", "call", "without", "its", "output", "function_call", "call_1"],
    ]
    assert found.out.endswith(
        "2 sessions: 1 broken items, 0 removed, 1 left.\n"
        "Runs leave them out by themselves; --repair takes them out of the store.\n"
    )
    assert "secret" not in found.out
    assert cli("sessions", "check", "whole").out == "1 session: 0 broken items, 0 removed, 0 left.\n"
    repaired = cli("sessions", "check", "s", "--repair", "--yes", "--by", "ana")
    assert (repaired.code, repaired.out.splitlines()[-1]) == (
        0,
        "1 session: 1 broken items, 1 removed, 0 left.",
    )
    assert cli("sessions", "show", "s").out == "user: a secret\n"
    assert cli("sessions", "edits", "s", "--limit", "1", "--json").json["edits"][0]["by"] == "ana"
    checked = cli("sessions", "check", "--all", "--json")
    assert (checked.code, checked.json) == (0, {"looked_at": 2, "sessions": [], "failed": {}})


def test_what_is_to_be_checked_is_said_in_one_way(lite: Cli, broken: str) -> None:
    lite("sessions", "add", "s", "--items", broken)
    for arguments, said in (
        ((), "SESSION_ID: and --all exclude each other"),
        (("s", "--all"), "SESSION_ID: and --all exclude each other"),
        (("s", "--remove-unreadable"), "--remove-unreadable: is only for a repair"),
        (("s", "--repair"), "add --yes"),
    ):
        done = lite("sessions", "check", *arguments)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
    assert lite("sessions", "check", "nobody").code == 1


def test_a_session_that_cannot_be_looked_at_is_named_and_the_others_are_looked_at(
    lite: Cli, broken: str, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere.py").write_text(
        "from turnkeeper import Agent, MemorySession, Turnkeeper\n"
        "def opened(session_id):\n"
        "    return MemorySession(session_id)\n"
        "app = Turnkeeper(agents=[Agent(name='a', model='gpt-5.2')], session_factory=opened)\n"
    )
    lite("sessions", "add", "s", "--items", broken)
    lite("sessions", "--agents", "elsewhere", "add", "t", "hello")
    done = lite("sessions", "check", "--all", "--json")
    assert (done.code, done.json["looked_at"]) == (1, 2)
    assert list(done.json["failed"]) == ["t"]
    assert [one["id"] for one in done.json["sessions"]] == ["s"]
    assert "t: session 't' " in lite("sessions", "check", "--all").out
    wrong = lite("sessions", "--agents", "nowhere", "show", "t")
    assert (wrong.code, "there is no module 'nowhere'" in wrong.err) == (2, True)


def test_sessions_are_erased_and_the_audit_names_them_no_more(
    lite: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNKEEPER_BROKER_URL", "memory://")
    for name in ("a1", "a2", "b1"):
        lite("sessions", "set", name, "--owner", "ana")
    one = lite("sessions", "erase", "b1", "--yes", "--by", "dpo")
    assert (one.code, one.out) == (0, "Erased: 1 session.\n")
    again = lite("sessions", "erase", "b1", "--yes")
    assert (again.code, again.out) == (0, "There was no such session; what the audit had of one is gone.\n")
    rest = lite("sessions", "erase", "--prefix", "a", "--yes", "--json")
    assert rest.json == {"sessions": 2, "left": [], "next_cursor": None}
    assert lite("sessions", "list").out == "No sessions.\n"
    assert "(erased)" in lite("sessions", "edits").out
    told = lite("sessions", "edits", "--json").json["edits"]
    assert {edit["session_id"] for edit in told} == {""}
    assert "dpo" in [edit["by"] for edit in told]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--yes",), "session_id: is missing, and so are the others"),
        (("a", "--all", "--yes"), "session_id and everything are given"),
        (("--owner", "ana", "--prefix", "a", "--yes"), "prefix and owner are given"),
        (("a",), "--yes: is missing"),
    ],
)
def test_an_erasure_has_to_say_whose_and_be_meant(lite: Cli, arguments: tuple[str, ...], said: str) -> None:
    lite("sessions", "set", "a", "--owner", "ana")
    done = lite("sessions", "erase", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "a" in lite("sessions", "list").out


def test_a_session_that_cannot_be_erased_is_named_and_the_exit_code_says_so(
    lite: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNKEEPER_BROKER_URL", "memory://")
    with Client(session_factory=MemorySession) as elsewhere:
        elsewhere.session("s").add_items([{"role": "user", "content": "Hello"}])
    done = lite("sessions", "erase", "s", "--yes")
    assert done.code == 1
    assert done.out.startswith("NOT erased: s: ")
    assert "memory" in done.out


def test_an_erasure_without_redis_is_refused(lite: Cli) -> None:
    lite("sessions", "set", "s", "--owner", "ana")
    done = lite("sessions", "erase", "s", "--yes")
    assert (done.code, done.out) == (1, "")
    assert "live events" in done.err
