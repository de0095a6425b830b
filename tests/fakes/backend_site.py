"""The example backends as somebody runs them: a server process each, beside a real worker and a model."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from tests.fakes.processes import ROOT, Process, Processes
from tests.fakes.site import Site, ready
from tests.fakes.wait import eventually_sync


@dataclass(frozen=True, slots=True)
class Backends:
    """Starts web backends on free ports of the loopback."""

    site: Site

    def start(self, *words: str, listens: str, **env: str) -> tuple[Process, str]:
        """`python words…`, and the URL that it listens on: the first group of `listens` in its log."""
        server = self.site.processes(sys.executable, *words, env={**self.site.env, **env})
        return server, url_of(server, listens)

    def gunicorn(self, *words: str, **env: str) -> tuple[Process, str]:
        """gunicorn, on a port that it finds itself."""
        fixed = ("--bind", "127.0.0.1:0", "--no-control-socket", "--graceful-timeout", "5")
        return self.start("-m", "gunicorn", *fixed, *words, listens=r"Listening at: (http://\S+)", **env)


def url_of(server: Process, listens: str) -> str:
    """The URL in its log; AssertionError with the log when it ends before."""
    # the line may be half written when its beginning is there
    server.wait_for_log(re.sub(r"\(.*", "", listens))
    found = eventually_sync(lambda: re.search(rf"{listens}\s", server.log), within=30)
    assert found is not None
    return found[1]


def practising(processes: Processes) -> str:
    """The practice model in a process; its base URL."""
    practice = processes(sys.executable, "-m", "turnkeeper.practice")
    return practice.wait_for_log("/v1\n").strip().splitlines()[-1]


def make_backends(processes: Processes, database_url: str, redis_url: str, module: str) -> Backends:
    """A worker with the agents of `module`, ready, and what starts backends beside it."""
    site = Site(processes, database_url, redis_url, practising(processes))
    words = ("-m", "turnkeeper", "worker", module)
    ready(processes(sys.executable, *words, env={**site.env, "PYTHONPATH": str(ROOT)}))
    return Backends(site)
