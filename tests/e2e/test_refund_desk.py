"""examples/refund_desk as its page says: a worker, a customer who watches, a colleague who decides."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.fakes.processes import ROOT, Process, Processes
from tests.fakes.site import Site, ready

FOLDER = ROOT / "examples" / "refund_desk"
LARGE = "Please refund order 16, 900 EUR"
ANA = "ana@shop.example"


class RefundDesk:
    """A worker with the example's agents, and its script as often as one likes."""

    def __init__(self, site: Site, book: Path) -> None:
        self._site = site
        self._book = book

    def start(self) -> None:
        module = ("-m", "turnkeeper", "worker", "agents")
        env = {"REFUND_DESK_BOOK": str(self._book), "PYTHONPATH": str(FOLDER)}
        ready(self._run(*module, **env))

    def desk(self, *words: str) -> Process:
        return self._run(str(FOLDER / "desk.py"), *words)

    def says(self, *words: str, code: int = 0) -> str:
        """What a command wrote that ends by itself."""
        process = self.desk(*words)
        assert process.wait(30) == code, process.log
        return process.log

    def asks(self, text: str) -> tuple[Process, str]:
        """A customer who watches, and the approval that the answer waits for."""
        customer = self.desk("ask", text)
        customer.wait_for_log("waits for a person: refund, apr_")
        found = re.search(r"apr_\w+", customer.log)
        assert found
        return customer, found[0]

    def paid(self) -> list[tuple[str, float]]:
        lines = self._book.read_text().splitlines() if self._book.exists() else []
        return [(payment["order"], payment["amount"]) for payment in map(json.loads, lines)]

    def _run(self, *words: str, **env: str) -> Process:
        return self._site.processes(sys.executable, *words, env={**self._site.env, **env})


@pytest.fixture
def refund_desk(migrated_sqlite: str, redis_url: str, processes: Processes, tmp_path: Path) -> RefundDesk:
    practice = processes(sys.executable, "-m", "turnkeeper.practice")
    model_url = practice.wait_for_log("/v1\n").strip().splitlines()[-1]
    desk = RefundDesk(Site(processes, migrated_sqlite, redis_url, model_url), tmp_path / "refunds.jsonl")
    desk.start()
    return desk


def test_a_small_refund_is_paid_at_once_and_nobody_is_asked(refund_desk: RefundDesk) -> None:
    log = refund_desk.says("ask", "Please refund order 7, 12.50 EUR")
    assert "Paid 12.50 euros back for order 7." in log
    assert "waits for a person" not in log
    assert log.splitlines()[-1] == "completed"
    assert refund_desk.paid() == [("7", 12.5)]


def test_a_large_refund_is_listed_and_paid_once_when_a_colleague_approves_it(refund_desk: RefundDesk) -> None:
    customer, approval = refund_desk.asks(LARGE)
    assert refund_desk.paid() == []
    listed = refund_desk.says("list")
    assert listed == f"{approval}  customer-42  refund  {{'order_id': '16', 'amount': 900.0}}\n"

    for _ in range(2):  # a double click is the same decision
        said = refund_desk.says("approve", approval, "--by", ANA)
        assert said == f"{approval} is approved by {ANA}\n"
    assert customer.wait(30) == 0, customer.log
    assert f"approved by {ANA}" in customer.log
    assert "Paid 900.00 euros back for order 16." in customer.log
    assert refund_desk.paid() == [("16", 900.0)]
    assert refund_desk.says("list") == ""


def test_a_rejected_refund_is_never_paid_and_the_second_to_decide_is_told_so(refund_desk: RefundDesk) -> None:
    customer, approval = refund_desk.asks(LARGE)
    refund_desk.says("reject", approval, "--by", ANA, "--reason", "too old")
    assert customer.wait(30) == 0, customer.log
    assert f"rejected by {ANA}" in customer.log
    assert "was not approved. Reason: too old" in customer.log
    late = refund_desk.says("approve", approval, "--by", "ben@shop.example", code=1)
    assert f"approval {approval} is rejected; nothing is left to decide" in late
    assert refund_desk.paid() == []
