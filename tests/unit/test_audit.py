"""The audit of dependencies: a known weakness fails it, and a service that cannot tell is not believed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tools import audit
from tools.audit import KNOWN_BAD, main

NOWHERE = "http://127.0.0.1:1/v1/query"


class Osv(BaseHTTPRequestHandler):
    """A service of known weaknesses: by `name==version`, the release that mends it."""

    known: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = said["package"]["name"]
        mended = self.known.get(f"{name}=={said['version']}")
        affected = {
            "package": {"name": name, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": mended}]}],
        }
        answer: dict[str, Any] = {"vulns": [{"id": f"WEAK-{name}", "affected": [affected]}]} if mended else {}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def osv(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The service, which knows no more than what it must."""
    monkeypatch.setattr(Osv, "known", {KNOWN_BAD: "2.10.1"})
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    written = tmp_path / "pins.txt"
    written.write_text("celery==5.7.0\nkombu==5.7.0\n", encoding="utf-8")
    return written


def test_pins_without_a_known_weakness_pass(osv: str, pins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--osv-url", osv, "--pins", str(pins)]) == 0
    assert capsys.readouterr().out == "audit: osv knows no weakness of what is pinned\n"


def test_a_known_weakness_fails_and_is_named_with_its_remedy(
    osv: str, pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Osv.known["kombu==5.7.0"] = "5.7.1"
    assert main(["--osv-url", osv, "--pins", str(pins)]) == 1
    assert "audit: WEAK: kombu 5.7.0: WEAK-kombu, mended in: 5.7.1\n" in capsys.readouterr().out


def test_a_weakness_that_was_accepted_does_not_fail_and_is_told(
    osv: str, pins: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Osv.known["kombu==5.7.0"] = "5.7.1"
    monkeypatch.setitem(audit.ACCEPTED, "WEAK-kombu", "we do not use that part")
    assert main(["--osv-url", osv, "--pins", str(pins)]) == 0
    assert "audit: accepted: WEAK-kombu: we do not use that part\n" in capsys.readouterr().out


def test_a_service_that_is_away_is_a_loud_skip_and_no_failure(
    pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--osv-url", NOWHERE, "--pins", str(pins)]) == 0
    told = capsys.readouterr().out
    assert "audit: osv cannot be asked: " in told
    assert "audit: SKIPPED: " in told


def test_a_service_that_knows_nothing_is_not_believed(
    osv: str, pins: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Osv.known.clear()
    assert main(["--osv-url", osv, "--pins", str(pins)]) == 0
    assert "audit: SKIPPED: " in capsys.readouterr().out


def test_packages_that_the_service_does_not_know_are_named(
    osv: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {"dependencies": [{"name": "ours", "skip_reason": "not found"}]}
    assert audit.report(audit.PUBLIC[0], audit.read(document)) == 0
    assert "audit: NOT CHECKED, unknown to osv: ours\n" in capsys.readouterr().out


def test_all_that_is_installed_for_users_is_pinned_and_so_audited() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-") for line in audit.PINS.read_text().splitlines()
    }
    assert {"celery", "kombu", "sqlalchemy", "openai", "cryptography", "fastapi", "asyncpg"} <= pinned
