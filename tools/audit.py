"""`python -m tools.audit`: known weaknesses of the versions that constraints.txt pins, by pip-audit.

It fails when one is known, and passes over services that cannot tell: each is first asked about a release of
which every service knows a weakness. Where none can tell, the audit is skipped, says so, and does not fail.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PINS = ROOT / "constraints.txt"
# what a service has to know, or it is none: CVE-2019-10906
KNOWN_BAD = "jinja2==2.10"
CALL_SECONDS = "5"
PROBE_SECONDS = 20.0
AUDIT_SECONDS = 180.0
# by id, why it does not concern us; to be taken out as soon as it is mended
ACCEPTED: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Service:
    """Where pip-audit asks. `url` only for an OSV that is not the public one."""

    name: str
    url: str | None = None

    @property
    def options(self) -> list[str]:
        return ["-s", self.name, *(["--osv-url", self.url] if self.url else [])]


PUBLIC = (Service("osv"), Service("pypi"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said: weaknesses as lines, and which packages it does not know."""

    weaknesses: tuple[str, ...]
    unknown: tuple[str, ...]


class NoAnswer(Exception):
    """A service that cannot be asked, and how that showed."""


def read(document: dict[str, Any]) -> Answer:
    """pip-audit's JSON."""
    weak, unknown = [], []
    for package in document["dependencies"]:
        if "skip_reason" in package:
            unknown.append(str(package["name"]))
            continue
        for found in package["vulns"]:
            if found["id"] not in ACCEPTED and not ACCEPTED.keys() & set(found.get("aliases", ())):
                mended = ", ".join(found["fix_versions"]) or "no release yet"
                weak.append(f"{package['name']} {package['version']}: {found['id']}, mended in: {mended}")
    return Answer(tuple(weak), tuple(unknown))


def ask(service: Service, pins: Path, seconds: float) -> Answer:
    """What a service knows of the pins. Raises NoAnswer."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(pins), "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--timeout", CALL_SECONDS, "-f", "json", *service.options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
        return read(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"no answer within {seconds:g} s") from None
    except (json.JSONDecodeError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise NoAnswer(last.partition("(Caused by")[0][:160]) from None


def probe(service: Service) -> None:
    """Make sure that a service knows what is known. Raises NoAnswer."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text(f"{KNOWN_BAD}\n", encoding="utf-8")
        if not ask(service, pins, PROBE_SECONDS).weaknesses:
            raise NoAnswer(f"it knows no weakness of {KNOWN_BAD}, so it is no such service")


def audit(services: Sequence[Service], pins: Path) -> int:
    """Ask the first service that can tell; the exit code."""
    for service in services:
        try:
            probe(service)
            answer = ask(service, pins, AUDIT_SECONDS)
        except NoAnswer as reason:
            print(f"audit: {service.name} cannot be asked: {reason}")
            continue
        return report(service, answer)
    print("audit: SKIPPED: no service of known weaknesses can be reached from here. Nothing was checked.")
    return 0


def report(service: Service, answer: Answer) -> int:
    """Say what was found; the exit code."""
    for line in answer.weaknesses:
        print(f"audit: WEAK: {line}")
    if answer.unknown:
        print(f"audit: NOT CHECKED, unknown to {service.name}: {', '.join(answer.unknown)}")
    for name, why in ACCEPTED.items():
        print(f"audit: accepted: {name}: {why}")
    if not answer.weaknesses:
        print(f"audit: {service.name} knows no weakness of what is pinned")
    return 1 if answer.weaknesses else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__)
    parser.add_argument("--pins", type=Path, default=PINS, help="a requirements file")
    parser.add_argument("--osv-url", help="an OSV service of your own, instead of the public ones")
    given = parser.parse_args(arguments)
    services = (Service("osv", given.osv_url),) if given.osv_url else PUBLIC
    return audit(services, given.pins)


if __name__ == "__main__":
    sys.exit(main())
