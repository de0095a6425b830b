"""One Client in a process that forks, used before the fork and by all threads of its children."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.fakes.backend_site import Backends
from tests.fakes.processes import Processes
from tests.fakes.site import Site, start_model
from tests.fakes.wait import eventually_sync

REQUESTS = 40
SESSIONS = 8
SERVER = ("--preload", "--workers", "2", "--threads", "4", "tests.fakes.forked_app:app")


def ask(url: str, number: int) -> tuple[int, str, str]:
    """The process that answered, the run, and the answer to `message number`."""
    with httpx2.Client(base_url=url, timeout=90) as one:
        params = {"session": f"customer-{number % SESSIONS}", "text": f"message {number}"}
        answer = one.get("/ask", params=params)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    return said["pid"], said["run"], said["answer"]


def test_a_client_that_was_used_before_the_fork_serves_all_threads_of_all_children(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    site = Site(processes, migrated_url, redis_url, start_model(processes))
    site.workers(1)
    server, url = Backends(site).gunicorn(*SERVER)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: ask(url, number), range(REQUESTS)))
    assert [answer for _, _, answer in answers] == [f"echo: message {n}" for n in range(REQUESTS)]
    assert len({run for _, run, _ in answers}) == REQUESTS

    served = {pid for pid, _, _ in answers}

    def both_served() -> bool:
        # the kernel says who accepts a connection: ask until it was each of them
        with ThreadPoolExecutor(8) as pool:
            served.update(pid for pid, _, _ in pool.map(lambda number: ask(url, number), range(8)))
        return len(served) == 2

    eventually_sync(both_served, within=60)
    look = httpx2.get(f"{url}/before", timeout=30).json()
    assert look["answer"] == "echo: early"
    assert look["parent"] == server.pid
    assert served.isdisjoint({server.pid})

    server.terminate()
    assert server.wait(20) == 0
    assert "Traceback" not in server.log
    assert "SIGKILL" not in server.log
