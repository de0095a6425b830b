"""A user's module whose worker may be watched: remote control and events are on."""

from __future__ import annotations

from turnkeeper import Agent, Turnkeeper

turnkeeper = Turnkeeper(agents=[Agent(name="support", model="gpt-5.2")])
celery = turnkeeper.celery
celery.conf.update(worker_enable_remote_control=True, worker_send_task_events=True)
