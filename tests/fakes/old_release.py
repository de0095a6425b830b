"""What the release before migration 0004 sent to the database: enqueue, claim and finish of a run.

Frozen: statements of that release with the columns of its tables, as text: no code of today is in them.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from turnkeeper_storage import ids

NOW = {
    "postgresql": "clock_timestamp()",
    "sqlite": "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)",
}
LATER = {"postgresql": "(clock_timestamp() + interval '30 seconds')", "sqlite": "({now} + 30000)"}
# PostgreSQL gives up after this long; what a client of that release was told to
LOCK_TIMEOUT_MS = 7_500

ENQUEUE = (
    "INSERT INTO turnkeeper_sessions (session_key, tenant, id, created_at, updated_at)"
    " VALUES (:key, 'default', :session, {now}, {now}) ON CONFLICT (session_key) DO NOTHING",
    "UPDATE turnkeeper_sessions SET next_seq = next_seq + 1,"
    " runnable_since = COALESCE(runnable_since, {now}), updated_at = {now}"
    " WHERE session_key = :key RETURNING next_seq - 1, tenant, lease_id, parked_run, store, hooked",
    "INSERT INTO turnkeeper_runs (session_key, id, tenant, session_id, seq, status, agent, input, options,"
    " state_version, input_digest, created_at) VALUES (:key, :run, 'default', :session, :seq, 'queued',"
    " 'support', '[]', '{{}}', 1, 'digest', {now})",
    "INSERT INTO turnkeeper_run_events (session_key, run_id, n, type, data, created_at)"
    " VALUES (:key, :run, 1, 'run.queued', '{{}}', {now})",
)
CLAIM = (
    "UPDATE turnkeeper_sessions SET epoch = epoch + 1, lease_id = :lease, lease_owner = 'web-1:4711',"
    " lease_until = {later}, taken_over = (lease_id IS NOT NULL) WHERE session_key = :key"
    " AND (lease_until IS NULL OR lease_until < {now}) RETURNING session_key, epoch, tenant, id, store",
    "UPDATE turnkeeper_runs SET status = 'running', crashes = 0, next_event = next_event + 1,"
    " started_at = COALESCE(started_at, {now}) WHERE session_key = :key AND id = :run",
)
FINISH = (
    "UPDATE turnkeeper_sessions SET lease_until = {later}, taken_over = false"
    " WHERE session_key = :key AND lease_id = :lease RETURNING epoch",
    "INSERT INTO turnkeeper_turns (session_key, run_id, turn, items, usage, epoch, created_at)"
    " VALUES (:key, :run, 1, '[]', '{{}}', 1, {now})",
    "UPDATE turnkeeper_sessions SET next_position = next_position + 1 WHERE session_key = :key"
    " RETURNING next_position - 1",
    "INSERT INTO turnkeeper_session_items (session_key, position, run_id, turn, epoch, data, created_at)"
    " VALUES (:key, :position, :run, 1, 1, '{{}}', {now})",
    "UPDATE turnkeeper_runs SET status = 'completed', turn = 1, output = '\"done\"', finished_at = {now}"
    " WHERE session_key = :key AND id = :run",
    "UPDATE turnkeeper_sessions SET lease_id = NULL, lease_owner = NULL, lease_until = NULL,"
    " runnable_since = NULL, updated_at = {now} WHERE session_key = :key AND lease_id = :lease",
)


@dataclass
class OldRelease:
    """One process of it, for a thread of its own. `slowest` is its longest transaction, in seconds."""

    url: str
    finished: int = 0
    slowest: float = 0.0
    _execute: Callable[[str, Mapping[str, Any]], Sequence[Any] | None] = field(init=False)

    def __post_init__(self) -> None:
        parsed = make_url(self.url)
        self._dialect = parsed.get_backend_name()
        if self._dialect == "postgresql":
            options = f"-c lock_timeout={LOCK_TIMEOUT_MS}"
            self._connection: Any = psycopg.connect(self.url, autocommit=True, options=options)
        else:
            self._connection = sqlite3.connect(
                str(parsed.database), timeout=30, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def run_once(self) -> None:
        """One run of a session of its own, in three transactions. Raises what the database says."""
        session = f"old-{secrets.token_hex(6)}"
        key = ids.session_key("default", session)
        values: dict[str, object] = {
            "key": key,
            "session": session,
            "run": ids.new_run_id(key),
            "lease": secrets.token_hex(16),
        }
        values |= {"seq": 1, "position": 1}  # of a session that is new
        for statements in (ENQUEUE, CLAIM, FINISH):
            begun = time.monotonic()
            self._transact(statements, values)
            self.slowest = max(self.slowest, time.monotonic() - begun)
        self.finished += 1

    def close(self) -> None:
        self._connection.close()

    def _transact(self, statements: Sequence[str], values: Mapping[str, Any]) -> None:
        self._connection.execute("BEGIN" if self._dialect == "postgresql" else "BEGIN IMMEDIATE")
        try:
            for statement in statements:
                cursor = self._connection.execute(self._written(statement), values)
                if "RETURNING" in statement:
                    assert cursor.fetchall(), f"no row: {statement}"
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _written(self, statement: str) -> str:
        now = NOW[self._dialect]
        text = statement.format(now=now, later=LATER[self._dialect].format(now=now))
        if self._dialect == "postgresql":
            for name in ("key", "session", "run", "lease", "seq", "position"):
                text = text.replace(f":{name}", f"%({name})s")
        return text
