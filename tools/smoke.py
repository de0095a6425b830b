"""Try an installed Turnkeeper, with no file of the project around: `python smoke.py VERSION`.

Imports what it ships, asks for its version, migrates a new SQLite database, and works a run off: a client
enqueues it, a worker calls a tool through the practice model, and the session has its history.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PACKAGES = ("turnkeeper", "turnkeeper_api", "turnkeeper_client", "turnkeeper_storage", "turnkeeper_worker")
SECONDS = 60


def check_packages() -> None:
    """All are there, and are those that were installed here."""
    home = Path(sysconfig.get_path("purelib"))
    for name in PACKAGES:
        file = importlib.import_module(name).__file__
        assert file is not None, f"{name} has no file"
        assert Path(file).is_relative_to(home), f"{name} comes from {file}"


def check_version(expected: str) -> None:
    """The command line, the package and what pip knows agree."""
    from importlib.metadata import version

    import turnkeeper

    told = subprocess.run(
        [command(), "--version"], capture_output=True, text=True, check=True, timeout=SECONDS
    )
    found = {told.stdout.strip().removeprefix("turnkeeper "), turnkeeper.__version__, version("turnkeeper")}
    assert found == {expected}, found


def command() -> str:
    """The command line of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / "turnkeeper")


def check_run() -> None:
    """A run from end to end, in this process."""
    from turnkeeper import Agent, Client, Turnkeeper, tool
    from turnkeeper.practice.server import PracticeServer
    from turnkeeper_client.portal import Portal
    from turnkeeper_worker.runtime import Runtime

    @tool
    async def order_status(order_id: str) -> str:
        """Look an order up."""
        return f"order {order_id} leaves the warehouse today"

    portal, server = Portal(), PracticeServer()
    portal.run(server.start())
    os.environ |= {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "practice"}
    worker = Runtime(
        Turnkeeper(agents=[Agent(name="support", model="practice", tools=[order_status])]),
        lambda change: None,
    )
    worker.start()
    try:
        with Client() as client:
            run = client.enqueue("customer-42", "Where is order 7?", agent="support").wait(timeout=SECONDS)
            assert run.status == "completed", run
            assert "leaves the warehouse today" in str(run.output), run.output
            assert len(client.session("customer-42").get_items()) == 4
    finally:
        worker.stop()
        portal.run(server.stop())
        portal.close()


def main(expected: str) -> None:
    """All of it, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {
            "TURNKEEPER_DATABASE_URL": "sqlite:///smoke.db",
            "TURNKEEPER_BROKER_URL": "memory://",
            "TURNKEEPER_SWEEP_SECONDS": "0.1",
        }
        check_packages()
        check_version(expected)
        subprocess.run([command(), "migrate"], check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)
        check_run()
        os.chdir("/")


if __name__ == "__main__":
    main(sys.argv[1])
