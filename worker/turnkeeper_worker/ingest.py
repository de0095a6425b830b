"""Jobs from any Celery producer: the task `turnkeeper.run`, which carries truth (DESIGN §4).

So it has a queue of its own, is acknowledged after the commit, and goes back while the database is away.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Protocol

from celery.exceptions import Reject

from turnkeeper_storage.admission import EnqueueRequest, check_agent, new_run
from turnkeeper_storage.doorbell import RUN_TASK
from turnkeeper_storage.errors import DatabaseUnavailable, TurnkeeperError
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import NewRun
from turnkeeper_storage.repositories import agents
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.enqueue import Enqueued, enqueue
from turnkeeper_worker.runtime import Runtime

if TYPE_CHECKING:
    from turnkeeper_worker.app import Turnkeeper

COMMIT_SECONDS = 30.0
# between two attempts while the database is away: the broker would hand the job back at once
PAUSE_SECONDS = 2.0
log = logging.getLogger(__name__)


class HasRuntime(Protocol):
    """Whoever knows the process' runtime."""

    @property
    def runtime(self) -> Runtime: ...


def add_ingest_task(app: Turnkeeper, link: HasRuntime) -> None:
    """Give the app its task `turnkeeper.run`; its result, for those who keep results, is the run's id."""
    settings = app.settings
    pause = threading.Event()

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
    ) -> str:
        """Enqueue a run; repeated deliveries of one task are one run."""
        key = idempotency_key or f"celery:{task.request.id}"
        request = EnqueueRequest(session_id, input, agent, key, stream, max_turns, metadata)
        try:
            new = new_run(request, tenant=tenant or settings.tenant, max_input_bytes=settings.max_input_bytes)
            enqueued = link.runtime.call(_accept(link.runtime, new), COMMIT_SECONDS)
        except (DatabaseUnavailable, TimeoutError, CancelledError) as error:
            log.warning("job %s goes back to its queue: %s", task.request.id, type(error).__name__)
            pause.wait(PAUSE_SECONDS)
            raise Reject(str(error), requeue=True) from error
        except TurnkeeperError as error:
            # Another delivery would be refused too: it is not asked for, and the producer can read why.
            log.error("job %s is refused: %s", task.request.id, error)
            raise
        if enqueued.wake:
            link.runtime.ring(new.session_key)
        return enqueued.run.id

    app.celery.task(
        run,
        name=RUN_TASK,
        bind=True,
        acks_late=True,
        reject_on_worker_lost=True,
        shared=False,
        throws=(TurnkeeperError,),
    )


async def _accept(runtime: Runtime, new: NewRun) -> Enqueued:
    async def once(uow: UnitOfWork) -> Enqueued:
        check_agent(new.agent, [record.name for record in await agents.list_agents(uow)])
        return await enqueue(uow, new)

    return await runtime.database.transact(once)
