"""What a client does with approvals: list, approve, reject, resolve, and move parked runs about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from turnkeeper_client import checks, decisions
from turnkeeper_client.approval_snapshots import ApprovalPage, ApprovalSnapshot
from turnkeeper_client.backend import Backend
from turnkeeper_client.snapshots import RunSnapshot
from turnkeeper_storage import tracing
from turnkeeper_storage.admission import check_text
from turnkeeper_storage.approvals import Decision, raise_conflict
from turnkeeper_storage.editing import check_edit
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import Approval, ApprovalStatus, Run, RunStatus
from turnkeeper_storage.repositories import approvals, runs
from turnkeeper_storage.repositories.approvals import ApprovalFilter
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import add_input as add_input_verb
from turnkeeper_storage.verbs import decide as decide_verb
from turnkeeper_storage.verbs import move


class AsyncApprovals:
    """The part of AsyncClient that deals with runs that wait for a person."""

    settings: Settings
    tenant: str
    _backend: Backend

    async def approval(self, approval_id: str) -> ApprovalSnapshot:
        """The approval as it stands. Raises NotFound, for another tenant's too."""
        key = decisions.approval_key(approval_id)
        look = partial(approvals.get, key=key, approval_id=approval_id, tenant=self.tenant)
        found = await (await self._backend.database()).read(look)
        if found is None:
            raise NotFound("approval", approval_id)
        return ApprovalSnapshot.of(found)

    async def approvals(
        self,
        status: ApprovalStatus | str | None = ApprovalStatus.PENDING,
        session_id: str | None = None,
        run_id: str | None = None,
        tool: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> ApprovalPage:
        """A page of this tenant's approvals, newest first: those that wait, unless told otherwise.

        `status` None for all; `cursor` is the `next_cursor` of the page before.
        """
        if run_id is not None:
            checks.run_key(run_id)
        wanted = ApprovalFilter(
            tenant=self.tenant,
            status=decisions.check_approval_status(status),
            run_id=run_id,
            session_id=None if session_id is None else check_text(session_id, "session_id"),
            tool=None if tool is None else check_text(tool, "tool"),
            before=decisions.check_approval_cursor(cursor),
            limit=checks.check_limit(limit) + 1,
        )
        found = await (await self._backend.database()).read(partial(approvals.search, wanted=wanted))
        page = tuple(ApprovalSnapshot.of(one) for one in found[:limit])
        return ApprovalPage(page, page[-1].id if len(found) > limit else None)

    async def approve(
        self,
        approval_id: str,
        *,
        by: str | None = None,
        note: str | None = None,
        arguments: Mapping[str, Json] | str | None = None,
        sticky: bool = False,
    ) -> ApprovalSnapshot:
        """Let the call run; the last decision of a run wakes it.

        `by`: who decides; over HTTP the key says that, and it may be left out. `arguments` are used instead
        of the model's, and must fit the tool's schema. `sticky`: for all calls of this tool in this run,
        those to come too. The same decision again gives the same answer. Raises NotFound, InvalidInput, and
        ApprovalConflict, with `state`, for a decision that lost: another one was first, its time is over, or
        the run has ended.
        """
        limit = self.settings.max_input_bytes
        decision = decisions.approval_of(by, note, arguments, sticky, limit=limit)
        if decision.arguments is not None:
            await self._check_edited(approval_id, decision.arguments)
        return await self._decide(approval_id, decision)

    async def reject(
        self, approval_id: str, *, by: str | None = None, reason: str | None = None, sticky: bool = False
    ) -> ApprovalSnapshot:
        """Refuse the call; the model is told so, with the `reason`, and goes on. Otherwise as `approve`."""
        return await self._decide(approval_id, decisions.rejection_of(by, reason, sticky))

    async def resolve(
        self,
        approval_id: str,
        *,
        by: str | None = None,
        outcome: str,
        output: Json = None,
        note: str | None = None,
    ) -> ApprovalSnapshot:
        """Say what became of a call in doubt, whose worker died in it.

        `outcome`: it "happened" (with the `output` that it gave), it "not_happened" (so it is run now), or
        "abort" the run. Raises as `approve` does; ApprovalConflict with state `not_available` while the call
        may still be at work.
        """
        limit = self.settings.max_output_bytes
        return await self._decide(
            approval_id, decisions.resolution_of(by, outcome, output, note, limit=limit)
        )

    async def add_input(self, run_id: str, input: str | list[Item]) -> RunSnapshot:
        """Tell a parked run more: the items follow the outputs of the calls that it waits for.

        Not idempotent: after DatabaseUnavailable it is unknown whether they stand. Raises NotFound, NotParked
        for a run that does not wait, InvalidInput, InputTooLarge.
        """
        key = checks.run_key(run_id)
        items = decisions.check_added(input, limit=self.settings.max_input_bytes)
        database = await self._backend.database()
        await database.transact_once(
            lambda uow: add_input_verb.add_input(uow, key, run_id, self.tenant, items)
        )
        return await self._snapshot(run_id)

    async def export_state(self, run_id: str) -> Json:
        """A parked run as one versioned JSON document. Raises NotFound, NotParked."""
        key = checks.run_key(run_id)
        database = await self._backend.database()
        return await database.transact(lambda uow: move.export_state(uow, key, run_id, self.tenant))

    async def import_state(self, document: Json) -> RunSnapshot:
        """Put the run of a document into its session of this client's tenant, which must be new.

        It waits for the same approvals. Raises UnknownStateVersion, InvalidInput, SessionNotEmpty.
        """

        async def put(uow: UnitOfWork) -> tuple[Run, list[Approval]]:
            run = await move.import_state(uow, document, self.tenant)
            return run, await _waiting(uow, run)

        database = await self._backend.database()
        # looked at before the commit: a worker may take a queued run up at once
        run, waiting = await database.transact_once(put)
        if run.status is RunStatus.QUEUED:
            await self._backend.ring(run.session_key)
        return _snapshot_of(run, waiting)

    async def _decide(self, approval_id: str, decision: Decision) -> ApprovalSnapshot:
        key = decisions.approval_key(approval_id)
        database = await self._backend.database()
        since = tracing.now()
        decided = await database.transact(
            lambda uow: decide_verb.decide(uow, key, approval_id, self.tenant, decision, is_all=True),
            "decide",
        )
        tracing.decided(decided.approval, decided.run, since, lost_to=decided.conflict)
        if decided.wake:
            await self._backend.ring(key)
        # after the commit: a decision that came too late has written the expiry
        raise_conflict(approval_id, decided.conflict)
        return ApprovalSnapshot.of(decided.approval)

    async def _check_edited(self, approval_id: str, arguments: str) -> None:
        key = decisions.approval_key(approval_id)
        await check_edit(await self._backend.database(), key, approval_id, self.tenant, arguments)

    async def _snapshot(self, run_id: str) -> RunSnapshot:
        key = checks.run_key(run_id)

        async def look(uow: UnitOfWork) -> tuple[Run | None, list[Approval]]:
            run = await runs.get(uow, key, run_id, self.tenant)
            return run, await _waiting(uow, run) if run is not None else []

        run, waiting = await (await self._backend.database()).read(look)
        if run is None:
            raise NotFound("run", run_id)
        return _snapshot_of(run, waiting)


async def _waiting(uow: UnitOfWork, run: Run) -> list[Approval]:
    """What the run waits for."""
    waits = run.status is RunStatus.AWAITING_APPROVAL
    return await approvals.pending(uow, run.session_key, run.id) if waits else []


def _snapshot_of(run: Run, waiting: Sequence[Approval]) -> RunSnapshot:
    return RunSnapshot.of(run, [ApprovalSnapshot.of(one) for one in waiting])
