"""Parked runs of every released version, imported, decided, and finished by a real worker of today.

The tool of today's worker is another one than the golden files', so an approval that they hold is stale, and
its call is asked about again. Each file is gone through a second time with the digest of today's tool in it,
as if the tool had not changed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes import golden_agents
from tests.fakes.golden_agents import INSTRUCTIONS, effects, refund, start_worker
from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Processes
from tests.fakes.replies import text
from tests.fakes.site import Site, ready
from tests.fakes.wait import eventually
from tests.fakes.worker import texts
from tests.golden import make_run_states
from turnkeeper_client import ApprovalSnapshot, AsyncClient, RunSnapshot
from turnkeeper_storage.approvals import ABORTED_TEXT, EXPIRED_TEXT, REJECTED_TEXT
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.settings import load_settings
from turnkeeper_storage.valid_input import make_valid

FOLDER = Path(make_run_states.__file__).parent
Decide = Callable[[AsyncClient, ApprovalSnapshot], Awaitable[object]]
OLD_DIGEST = "digest of refund"


async def approve(client: AsyncClient, approval: ApprovalSnapshot) -> object:
    return await client.approve(approval.id, by="ana@shop.example")


async def reject(client: AsyncClient, approval: ApprovalSnapshot) -> object:
    return await client.reject(approval.id, by="ana@shop.example", reason="too late")


async def let_expire(client: AsyncClient, approval: ApprovalSnapshot) -> object:
    async def is_over() -> bool:
        return not (await client.approvals(run_id=approval.run_id)).approvals

    return await eventually(is_over)


def resolve(outcome: str, output: Json = None) -> Decide:
    return lambda client, approval: client.resolve(approval.id, by="ana", outcome=outcome, output=output)


@dataclass(frozen=True, slots=True)
class Case:
    """What is decided about the questions of a golden file, and what comes of it.

    `after`: the history that follows what the file holds. `ran`: the calls that had an effect. `stale`: calls
    that are asked about again when the tool is another one. `expires_at` replaces the file's.
    """

    golden: str
    decide: Decide
    after: list[str]
    ran: list[str]
    stale: tuple[str, ...] = ()
    status: RunStatus = RunStatus.COMPLETED
    expires_at: str | None = None

    def document(self, *, is_same_tool: bool) -> Json:
        whole = (FOLDER / f"run_state_{self.golden}.json").read_text()
        document = json.loads(whole.replace(OLD_DIGEST, refund.digest) if is_same_tool else whole)
        for approval in document["approvals"]:
            if approval["expires_at"] is not None:
                approval["expires_at"] = self.expires_at
        return document


CASES = {
    "approved": Case("v1_gated", approve, ["= refunded 40", "done"], ["call_1 7 40"], stale=("call_1",)),
    "rejected": Case("v1_gated", reject, [f"= {REJECTED_TEXT} Reason: too late", "done"], []),
    "expired": Case(
        "v1_gated", let_expire, [f"= {EXPIRED_TEXT}", "done"], [], expires_at="2026-01-01T00:00:00+00:00"
    ),
    "partly_decided": Case(
        "v1_partly_decided",
        reject,
        [
            "= refunded 5",
            f"= {REJECTED_TEXT} Reason: twice the same order",
            f"= {REJECTED_TEXT} Reason: too late",
            "Please hurry.",
            "done",
        ],
        ["call_1 7 5"],
        stale=("call_1",),
    ),
    "decided": Case(
        "v1_decided",
        approve,
        ["= refunded 40", "= refunded 40", "done"],
        ["call_1 7 40", "call_2 7 40"],
        stale=("call_1", "call_2"),
    ),
    "happened": Case(
        "v1_in_doubt", resolve("happened", "refunded by hand"), ["= refunded by hand", "done"], []
    ),
    "not_happened": Case(
        "v1_in_doubt",
        resolve("not_happened"),
        ["= refunded 40", "done"],
        ["call_1 7 40"],
        stale=("call_1",),
    ),
    "aborted": Case("v1_in_doubt", resolve("abort"), [f"= {ABORTED_TEXT}"], [], status=RunStatus.CANCELLED),
    "hosted": Case("v1_hosted", approve, ["", "done"], []),
    "second_turn": Case(
        "v1_second_turn",
        approve,
        ["= refunded 40", "= Order 7: paid", "done"],
        ["call_2 7 40"],
        stale=("call_2",),
    ),
}


def test_each_golden_file_is_gone_through() -> None:
    files = {path.stem.removeprefix("run_state_") for path in FOLDER.glob("run_state_v*.json")}
    assert {case.golden for case in CASES.values()} == files
    assert golden_agents.refund.digest != OLD_DIGEST


@pytest.mark.parametrize("is_same_tool", [True, False], ids=["same_tool", "changed_tool"])
async def test_a_parked_run_of_every_version_goes_on_with_the_worker_of_today(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path, is_same_tool: bool
) -> None:
    till = tmp_path / "till"
    async with ScriptedModel(answer=lambda _: text("done")) as model:
        site = Site(processes, migrated_url, redis_url, model.base_url)
        ready(start_worker(site, till))
        # one worker for all: each file is of session "s", so each gets a tenant of its own
        stories = [told(site, till, model, name, is_same_tool=is_same_tool) for name in CASES]
        failures = await asyncio.gather(*stories, return_exceptions=True)
    wrong = {name: failure for name, failure in zip(CASES, failures, strict=True) if failure}
    if wrong:
        raise ExceptionGroup(f"{', '.join(wrong)} went wrong", list(map(_named, wrong, wrong.values())))


def _named(name: str, failure: BaseException) -> Exception:
    failure.add_note(f"case {name}")
    return failure if isinstance(failure, Exception) else RuntimeError(repr(failure))


async def told(site: Site, till: Path, model: ScriptedModel, name: str, *, is_same_tool: bool) -> None:
    """One case from its import to its end."""
    case = CASES[name]
    document = case.document(is_same_tool=is_same_tool)
    before = [stored["item"] for stored in document["stored"]]
    async with client_of(site, tenant=name) as client:
        imported = await client.import_state(document)
        done, again = await settled(client, imported, case.decide)

        assert (done.status, done.error) == (case.status, None)
        assert sorted(again) == ([] if is_same_tool else list(case.stale))
        assert effects(till, name) == case.ran
        history = await client.session("s").get_items()
        assert history[: len(before)] == before
        assert texts(history[len(before) :]) == case.after
        assert make_valid(history) == history  # each call stands with its output
        asked = [request for request in model.requests if request["metadata"]["run_id"] == done.id]
        if case.status is RunStatus.COMPLETED:
            (request,) = asked
            assert request["instructions"] == INSTRUCTIONS
            # what was merged before it parked, not what the history says today
            brought = document["run"]["merged_input"]
            assert texts(request["input"]) == texts([*brought, *history[len(brought) : -1]])
            assert done.output == "done"
        else:
            assert asked == []


async def settled(
    client: AsyncClient, imported: RunSnapshot, decide: Decide
) -> tuple[RunSnapshot, list[str]]:
    """The run at its end, and the calls that were asked about anew; those are approved."""
    ours = {approval.id for approval in imported.approvals}
    again: list[str] = []
    snapshot = await client.wait(imported.id, 30)
    while snapshot.status is RunStatus.AWAITING_APPROVAL:
        for approval in snapshot.approvals:
            if approval.id in ours:
                await decide(client, approval)
            else:
                again.append(approval.call_id)
                await approve(client, approval)
        snapshot = await client.wait(imported.id, 30)
    return snapshot, again


@asynccontextmanager
async def client_of(site: Site, *, tenant: str) -> AsyncIterator[AsyncClient]:
    settings = load_settings(
        database_url=site.database_url, broker_url=site.broker_url, queue=site.queue, tenant=tenant
    )
    async with AsyncClient(settings=settings) as client:
        yield client
