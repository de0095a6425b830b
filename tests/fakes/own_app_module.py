"""A user's own Celery app with a task of its own, into which Turnkeeper is plugged."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery

from turnkeeper_worker.agents import Agent
from turnkeeper_worker.app import Turnkeeper

celery = Celery("shop", broker=os.environ["TURNKEEPER_BROKER_URL"], set_as_current=False)
celery.conf.broker_connection_retry_on_startup = True


@celery.task(name="shop.mark")  # type: ignore[untyped-decorator]
def mark(path: str) -> None:
    """Leave a file behind."""
    Path(path).write_text(str(os.getpid()))


turnkeeper = Turnkeeper(agents=[Agent(name="support", model="gpt-5.2")], celery=celery)
