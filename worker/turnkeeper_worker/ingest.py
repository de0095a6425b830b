"""Jobs from any Celery producer: tasks that carry truth (DESIGN §4).

So they have a queue of their own, are acknowledged after the commit, and go back while the database is away.
A job for a queue that is full comes again later.
`turnkeeper.run` enqueues a run; `turnkeeper.decide` decides an approval, and is there only when the settings
say so, for whoever can write to the broker could approve.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from celery.exceptions import Reject

from turnkeeper_storage import ids, tracing
from turnkeeper_storage.admission import EnqueueRequest, QueueLimits, check_agent, check_flag, new_run
from turnkeeper_storage.approvals import Decision, DecisionKind, check_decision, raise_conflict
from turnkeeper_storage.doorbell import RUN_TASK
from turnkeeper_storage.edited_arguments import in_one_form
from turnkeeper_storage.editing import check_edit
from turnkeeper_storage.errors import (
    DatabaseUnavailable,
    InputTooLarge,
    InvalidInput,
    QueueFull,
    TurnkeeperError,
)
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import NewRun
from turnkeeper_storage.repositories import agents
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.decide import Decided, decide
from turnkeeper_storage.verbs.enqueue import Enqueued, enqueue
from turnkeeper_worker.runtime import Runtime

if TYPE_CHECKING:
    from turnkeeper_worker.app import Turnkeeper

T = TypeVar("T")
R = TypeVar("R")
DECIDE_TASK = "turnkeeper.decide"
COMMIT_SECONDS = 30.0
# between two attempts while the database is away: the broker would hand the job back at once
PAUSE_SECONDS = 2.0
# until a job is tried again whose queue was full
FULL_SECONDS = 5.0
log = logging.getLogger(__name__)


class HasRuntime(Protocol):
    """Whoever knows the process' runtime."""

    @property
    def runtime(self) -> Runtime: ...


def add_ingest_tasks(app: Turnkeeper, link: HasRuntime) -> None:
    """Give the app its ingest tasks."""
    _add_run_task(app, link)
    if app.settings.accept_decisions:
        _add_decide_task(app, link)


def _add_run_task(app: Turnkeeper, link: HasRuntime) -> None:
    settings, pause = app.settings, threading.Event()

    def run(
        task: Any,
        session_id: str,
        input: str | list[Item],
        agent: str,
        tenant: str | None = None,
        idempotency_key: str | None = None,
        stream: bool = False,
        max_turns: int | None = None,
        metadata: Mapping[str, Json] | None = None,
        session_input_callback: str | None = None,
        deadline_seconds: float | None = None,
        token_limit: int | None = None,
    ) -> str:
        """Enqueue a run; repeated deliveries of one task are one run. The result is the run's id."""
        key = idempotency_key or f"celery:{task.request.id}"
        request = EnqueueRequest(
            session_id,
            input,
            agent,
            key,
            stream,
            max_turns,
            metadata,
            session_input_callback,
            deadline_seconds,
            token_limit,
        )

        def work() -> tuple[NewRun, Coroutine[Any, Any, Enqueued]]:
            new = new_run(
                request,
                tenant=tenant or settings.tenant,
                max_input_bytes=settings.max_input_bytes,
                deadline_seconds=settings.run_deadline_seconds,
            )
            return new, _accept(link.runtime, new, settings.queue_limits)

        new, enqueued = _carried_out(link, pause, task, work)
        if enqueued.wake:
            link.runtime.ring(new.session_key)
        return enqueued.run.id

    _register(app, RUN_TASK, run)


def _add_decide_task(app: Turnkeeper, link: HasRuntime) -> None:
    settings, pause = app.settings, threading.Event()

    def decide_approval(
        task: Any,
        approval_id: str,
        decision: str,
        by: str,
        note: str | None = None,
        arguments: Mapping[str, Json] | str | None = None,
        sticky: bool = False,
        tenant: str | None = None,
        output: str | None = None,
    ) -> str:
        """Decide an approval; repeated deliveries are one decision. The result is the approval's status."""

        def work() -> tuple[str, Coroutine[Any, Any, Decided]]:
            key = ids.key_of(approval_id, kind="approval")
            made = _decision(decision, by, note, arguments, sticky, output, settings.max_input_bytes)
            return key, _decide(link.runtime, key, approval_id, tenant or settings.tenant, made)

        key, decided = _carried_out(link, pause, task, work)
        if decided.wake:
            link.runtime.ring(key)
        try:
            raise_conflict(approval_id, decided.conflict)
        except TurnkeeperError as error:
            log.error("job %s is refused: %s", task.request.id, error)
            raise
        return decided.approval.status.value

    _register(app, DECIDE_TASK, decide_approval)


def _carried_out(
    link: HasRuntime,
    pause: threading.Event,
    task: Any,
    work: Callable[[], tuple[T, Coroutine[Any, Any, R]]],
) -> tuple[T, R]:
    """What `work` gives, its coroutine awaited on the runtime's loop. Back to the queue when it cannot be."""
    try:
        given, coroutine = work()
        return given, link.runtime.call(coroutine, COMMIT_SECONDS)
    except (DatabaseUnavailable, TimeoutError, CancelledError) as error:
        log.warning("job %s goes back to its queue: %s", task.request.id, type(error).__name__)
        pause.wait(PAUSE_SECONDS)
        raise Reject(str(error), requeue=True) from error
    except QueueFull as error:
        _put_off(task, error)
    except TurnkeeperError as error:
        # Another delivery would be refused too: it is not asked for, and the producer can read why.
        log.error("job %s is refused: %s", task.request.id, error)
        raise


def _put_off(task: Any, error: QueueFull) -> NoReturn:
    """Let the job come again later, behind others: its producer is not there to be told.

    It is published anew under its own id, so it is the same run still, and acknowledged after that. Given
    back it would come at once, and before all others; a thread that waited would keep bells from being heard.
    """
    if not task.request.retries:
        log.warning("job %s waits: %s", task.request.id, error)
    try:
        raise task.retry(exc=error, countdown=FULL_SECONDS)
    except Reject as lost:  # Celery would drop a job that it cannot publish
        raise Reject(lost.reason, requeue=True) from error


def _register(app: Turnkeeper, name: str, function: Callable[..., str]) -> None:
    app.celery.task(
        function,
        name=name,
        bind=True,
        acks_late=True,
        reject_on_worker_lost=True,
        shared=False,
        max_retries=None,
        throws=(TurnkeeperError,),
    )


def _decision(
    kind: str,
    by: str,
    note: str | None,
    arguments: Mapping[str, Json] | str | None,
    sticky: bool,
    output: str | None,
    limit: int,
) -> Decision:
    try:
        known = DecisionKind(kind)
    except ValueError:
        choices = ", ".join(choice.value for choice in DecisionKind)
        raise InvalidInput("decision", f"is {str(kind)[:40]!r}", f"use one of {choices}") from None
    # in the form that a client gives them, so that the same edit from both is the same decision
    edited = None if arguments is None else in_one_form(arguments)
    for field, value in (("note", note), ("output", output), ("arguments", edited)):
        if value is not None and not isinstance(value, str):
            raise InvalidInput(field, f"is {type(value).__name__}", "use a text")
        size = len((value or "").encode(errors="surrogatepass"))
        if size > limit:
            raise InputTooLarge(field, size, limit)
    return check_decision(
        Decision(known, by, note, edited, sticky=check_flag(sticky, "sticky"), output=output)
    )


async def _accept(runtime: Runtime, new: NewRun, limits: QueueLimits) -> Enqueued:
    async def once(uow: UnitOfWork) -> Enqueued:
        check_agent(new.agent, [record.name for record in await agents.list_agents(uow)])
        return await enqueue(uow, new, limits=limits, is_all=True)

    with tracing.enqueueing(new) as span:
        enqueued = await runtime.database.transact(once, "enqueue")
        tracing.accepted(span, enqueued.run, created=enqueued.created)
    return enqueued


async def _decide(runtime: Runtime, key: str, approval_id: str, tenant: str, decision: Decision) -> Decided:
    if decision.arguments is not None:
        await check_edit(runtime.database, key, approval_id, tenant, decision.arguments)
    since = tracing.now()
    decided = await runtime.database.transact(
        lambda uow: decide(uow, key, approval_id, tenant, decision, is_all=True), "decide"
    )
    tracing.decided(decided.approval, decided.run, since, lost_to=decided.conflict)
    return decided
