"""A real Prometheus and a real Alertmanager, on the files of deploy/observability.

What is put in for a test: where the processes are, and durations, so that nobody waits for minutes.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tests.fakes.observability import FOLDER
from tests.fakes.processes import Processes
from tests.fakes.promtool import Program, needed
from tests.fakes.tls_servers import free_port
from tests.fakes.wait import eventually

# a scrape, which may take as long, and a look at the rules
EACH = "2s"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that is asked over HTTP."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer; AssertionError with what was wrong."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        answer = httpx2.get(f"{self.url}/api/v1/{path}{query}", timeout=10)
        document = answer.json()
        assert document["status"] == "success", document
        return document["data"]

    def values(self, expression: str) -> list[float]:
        """The values of an expression now."""
        return [float(found["value"][1]) for found in self.ask("query", query=expression)["result"]]


def address(url: str) -> str:
    """Host and port of a page, as Prometheus is told of it."""
    return urllib.parse.urlsplit(url).netloc


async def prometheus(
    processes: Processes,
    folder: Path,
    targets: Mapping[str, Sequence[str]],
    alertmanager: str = "127.0.0.1:1",
) -> Prometheus:
    """Start one that asks these addresses, by job. The test is skipped where there is none."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = dict.fromkeys(config["global"], EACH)
    for job in config["scrape_configs"]:
        job["scrape_timeout"] = EACH
        job["static_configs"] = [{"targets": list(targets[job["job_name"]])}]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    rules = (FOLDER / "alerts.yaml").read_text(encoding="utf-8")
    (folder / "alerts.yaml").write_text(re.sub(r"for: [1-9]\d*m", "for: 1s", rules), encoding="utf-8")
    return Prometheus(await _start(processes, "prometheus", folder, config, "--storage.tsdb.path"))


async def alertmanager(processes: Processes, folder: Path, receiver: str) -> str:
    """Start one whose webhooks go to `receiver`; its address."""
    config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
    for one in config["receivers"]:
        for hook in one["webhook_configs"]:
            hook["url"] = receiver + urllib.parse.urlsplit(hook["url"]).path
    return await _start(
        processes, "alertmanager", folder, config, "--storage.path", "--cluster.listen-address="
    )


async def _start(
    processes: Processes, name: Program, folder: Path, config: object, storage: str, *options: str
) -> str:
    file = folder / f"{name}.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    process = processes(
        needed(name),
        f"--config.file={file}",
        f"{storage}={folder / name}",
        f"--web.listen-address={address(url)}",
        *options,
    )

    def is_ready() -> bool:
        assert process.returncode is None, process.log
        try:
            return httpx2.get(f"{url}/-/ready", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    await eventually(is_ready, within=30, every=0.1)
    return url
