"""`turnkeeper keys`, and what `turnkeeper api` refuses to begin with."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest

from turnkeeper.cli.main import run
from turnkeeper_client import Client


@pytest.fixture(autouse=True)
def here(migrated_sqlite: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNKEEPER_DATABASE_URL", migrated_sqlite)
    monkeypatch.setenv("TURNKEEPER_BROKER_URL", "memory://")


def test_a_key_is_made_listed_and_revoked(capsys: pytest.CaptureFixture[str], migrated_sqlite: str) -> None:
    assert run(["keys", "create", "ana", "--scope", "runs", "-s", "approvals:decide"]) == 0
    made = capsys.readouterr()
    text = made.out.strip()
    assert re.fullmatch(r"tk_[0-9a-z]{16}_[0-9a-z]{32}", text)
    assert "it is not shown again" in made.err
    assert text not in made.err
    with Client(database_url=migrated_sqlite, broker_url="memory://") as client:
        key = client.check_api_key(text)
    assert key is not None
    assert (key.name, sorted(key.scopes)) == ("ana", ["approvals:decide", "runs"])

    assert run(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert key.id in listed
    assert text.rpartition("_")[2] not in listed

    assert run(["keys", "revoke", key.id]) == 0
    assert capsys.readouterr().out == f"Key {key.id} of 'ana' is revoked.\n"
    with Client(database_url=migrated_sqlite, broker_url="memory://") as client:
        assert client.check_api_key(text) is None
    assert run(["keys", "--tenant", "other", "revoke", key.id]) == 1
    assert "there is no key" in capsys.readouterr().err


def test_a_scope_that_is_none_makes_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "create", "ana", "--scope", "all"]) == 2
    assert "scopes: 'all' is none; use some of: runs, sessions, approvals:read" in capsys.readouterr().err
    assert run(["keys", "create", "ana"]) == 2
    assert run(["keys", "list"]) == 0
    assert "No keys." in capsys.readouterr().out


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "shop.example"])
def test_beyond_the_loopback_nothing_is_served_without_authentication(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["api", "--host", host, "--port", "0", "--auth", "none"]) == 2
    assert f"--auth: is none, and {host} can be reached from other machines; use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ("all", "--auth: is 'all'; use keys, none, or MODULE:ATTRIBUTE"),
        ("nowhere:user", "--auth: there is no module 'nowhere' here"),
        ("mine:nobody", "--auth: 'mine' has no attribute 'nobody'"),
        ("mine:number", "--auth: mine:number is int, no dependency of FastAPI"),
    ],
)
def test_an_authentication_that_is_none_is_named(
    auth: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("number = 7\n")
    try:
        assert run(["api", "--auth", auth]) == 2
    finally:
        sys.modules.pop("mine", None)
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["api", "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["api"]) == 2
    assert "needs uvicorn, which is not installed; pip install 'turnkeeper[api]'" in capsys.readouterr().err
