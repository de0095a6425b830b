"""A database as a year of use leaves it: many runs that ended, some that wait, some at work, some parked.

filled = fill(url, 1_000_000)
filled.session(Kind.QUEUED)      # the id of a session of that kind

Rows are made by SQL in the shape that the product writes, without WAL, and indexes after them: a million
runs take about a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import psycopg

from turnkeeper_storage import ids
from turnkeeper_storage.tables import metadata

TENANT = "default"
RUNS_PER_SESSION = 5
# queued runs, below what one session may have, behind so many that ended: it is counted at each enqueue
DEEP_QUEUE = 900
DEEP_ENDED = 200


class Kind(Enum):
    """What a session is about. The value: (every so many sessions, at this place)."""

    LONG = (0, 0)  # one alone: a twentieth of all runs, two items each
    DEEP = (0, 5)  # one alone: with DEEP_QUEUE runs queued
    QUEUED = (50, 1)  # its last run waits for a worker
    RUNNING = (100, 2)  # its last run is at work
    PARKED = (100, 3)  # its last run waits for a person
    STALE = (1000, 4)  # its worker died: the lease is over
    SUSPECT = (1000, 6)  # it crashed its workers
    ENDED = (1, 10)  # all its runs have ended


@dataclass(frozen=True, slots=True)
class Filled:
    """What is in a database now."""

    runs: int
    sessions: int

    def session(self, kind: Kind, number: int = 0) -> str:
        """The id of the `number`th session of a kind."""
        every, place = kind.value
        return session_id(place + every * number)


def session_id(number: int) -> str:
    """The id of a session that was made here."""
    return f"session-{number}"


def fill(url: str, runs: int) -> Filled:
    """Fill a migrated database that is empty; afterwards it is analyzed."""
    sessions = runs // RUNS_PER_SESSION
    numbers = {"long": runs // 20, "deep": DEEP_QUEUE, "ended": DEEP_ENDED, "per": RUNS_PER_SESSION}
    with psycopg.connect(url) as connection:
        connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
        names = [table.name for table in metadata.sorted_tables]
        for name in names:
            connection.execute(f"ALTER TABLE {name} SET UNLOGGED")
        indexes = _without_indexes(connection, names)
        _copy_keys(connection, sessions)
        for statement in _FILL:
            connection.execute(_with_numbers(statement, numbers))
        for statement in indexes:
            connection.execute(statement)
        connection.execute("DROP TABLE made_runs, made_sessions")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return Filled(runs, sessions)


def _without_indexes(connection: psycopg.Connection[tuple[object, ...]], names: list[str]) -> list[str]:
    """Drop all indexes; the statements that make them anew, as they were."""
    constraints = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid::regclass::text = ANY(%s) AND contype IN ('p', 'u')",
        [names],
    ).fetchall()
    again = []
    for table, name, definition in constraints:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        again.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
    for name, definition in connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)", [names]
    ).fetchall():
        connection.execute(f"DROP INDEX {name}")
        again.append(str(definition))
    return again


def _copy_keys(connection: psycopg.Connection[tuple[object, ...]], sessions: int) -> None:
    connection.execute(
        'CREATE UNLOGGED TABLE made_sessions (number int, id text, session_key text COLLATE "C")'
    )
    with connection.cursor().copy("COPY made_sessions FROM STDIN") as copy:
        for number in range(sessions):
            name = session_id(number)
            copy.write_row((number, name, ids.session_key(TENANT, name)))


def _with_numbers(statement: str, numbers: dict[str, int]) -> str:
    for name, number in numbers.items():
        statement = statement.replace(f":{name}:", str(number))
    for kind in Kind:
        every, place = kind.value
        is_it = f"number % {every} = {place}" if every else f"number = {place}"
        statement = statement.replace(f"IS_{kind.name}", f"({is_it})")
    return statement


_USAGE = """'{"input_tokens":10,"output_tokens":5,"total_tokens":15,"requests":1}'"""
_FILL = [
    # every run with its session, its place in it, and how it stands: the last one as its session's kind says
    """
    CREATE UNLOGGED TABLE made_runs AS
    SELECT number, session_key, session_id, seq, row_number() OVER () AS n, status,
           'run_' || lpad(to_hex(row_number() OVER ()), 16, '0') || session_key AS id,
           (number + seq) % 4 = 0 OR status = 'awaiting_approval' AS has_tools,
           (number + seq) % 20 = 0 OR status = 'awaiting_approval' AS was_gated
    FROM (
        SELECT number, session_key, id AS session_id, seq, CASE
            WHEN IS_DEEP AND seq > :ended: THEN 'queued'
            WHEN seq <> :per: OR IS_LONG OR IS_DEEP THEN 'completed'
            WHEN IS_QUEUED THEN 'queued'
            WHEN IS_RUNNING OR IS_STALE OR IS_SUSPECT THEN 'running'
            WHEN IS_PARKED THEN 'awaiting_approval'
            WHEN number % 100 = 7 THEN 'failed'
            ELSE 'completed' END AS status
        FROM made_sessions, generate_series(1, CASE
            WHEN IS_LONG THEN :long: WHEN IS_DEEP THEN :ended: + :deep: ELSE :per: END) AS seq
    ) AS made
    """,
    """
    INSERT INTO turnkeeper_sessions (session_key, tenant, id, next_seq, next_position, epoch, lease_id,
        lease_owner, lease_until, runnable_since, suspect, parked_run, store, created_at, updated_at)
    SELECT session_key, 'default', made_sessions.id,
        1 + CASE WHEN IS_LONG THEN :long: WHEN IS_DEEP THEN :ended: + :deep: ELSE :per: END,
        1 + 2 * CASE WHEN IS_LONG THEN :long: WHEN IS_DEEP THEN :ended: ELSE :per: END, 5,
        CASE WHEN IS_RUNNING OR IS_STALE OR IS_SUSPECT THEN md5(made_sessions.id) END,
        CASE WHEN IS_RUNNING OR IS_STALE OR IS_SUSPECT THEN 'host:' || number % 20 || ':lock-1' END,
        CASE WHEN IS_RUNNING THEN now() + interval '1 day'
             WHEN IS_STALE OR IS_SUSPECT THEN now() - interval '1 minute' END,
        CASE WHEN IS_QUEUED OR IS_RUNNING OR IS_STALE OR IS_DEEP OR IS_SUSPECT
             THEN now() - number % 1000 * interval '1 second' END,
        CASE WHEN IS_SUSPECT THEN 2 END,
        parked.id, 'database', now() - interval '1 year', now() - interval '1 hour'
    FROM made_sessions
    LEFT JOIN (SELECT session_key, id FROM made_runs WHERE status = 'awaiting_approval') AS parked
        USING (session_key)
    """,
    f"""
    INSERT INTO turnkeeper_runs (session_key, id, tenant, session_id, seq, status, turn, agent, agent_digest,
        parked_turn, input, options, idempotency_key, input_digest, output, usage, deadline, next_event,
        created_at, started_at, finished_at)
    SELECT session_key, id, 'default', session_id, seq, status, CASE status WHEN 'queued' THEN 0 ELSE 1 END,
        'support', md5('support'), CASE WHEN status = 'awaiting_approval' THEN 1 END,
        '[{{"type":"message","role":"user","content":"message ' || n || '"}}]', NULL,
        CASE WHEN n % 2 = 0 THEN 'key-' || n END, md5(n::text) || md5(id),
        CASE WHEN status = 'completed' THEN '"It is on its way."' END,
        CASE WHEN status = 'completed' THEN {_USAGE} END,
        CASE WHEN n % 10 = 0 THEN now() + interval '1 day' END,
        CASE status WHEN 'queued' THEN 2 WHEN 'running' THEN 3 ELSE 5 END,
        now() - interval '1 day', CASE WHEN status <> 'queued' THEN now() - interval '1 day' END,
        CASE WHEN status IN ('completed', 'failed') THEN now() - interval '1 day' END
    FROM made_runs
    """,
    """
    INSERT INTO turnkeeper_session_items (session_key, position, run_id, turn, epoch, data, created_at)
    SELECT session_key, 2 * seq - 2 + place, id, place - 1, 1, CASE place
            WHEN 1 THEN '{"type":"message","role":"user","content":"message ' || n || '"}'
            ELSE '{"type":"message","role":"assistant","content":[{"type":"output_text","text":"answer '
                || n || '","annotations":[]}]}' END, now() - interval '1 day'
    FROM made_runs, generate_series(1, 2) AS place WHERE status = 'completed'
    """,
    """
    INSERT INTO turnkeeper_boundaries (session_key, run_id, boundary, done)
    SELECT session_key, id, 'finish', true FROM made_runs WHERE status = 'completed'
    """,
    """
    INSERT INTO turnkeeper_run_events (session_key, run_id, n, type, data, created_at)
    SELECT session_key, id, event, (ARRAY['queued', 'started', 'turn_finished', 'completed'])[event],
        '{"turn":1,"epoch":1}', now() - interval '1 day'
    FROM made_runs, generate_series(1, CASE status WHEN 'queued' THEN 1 WHEN 'running' THEN 2 ELSE 4 END)
        AS event
    """,
    f"""
    INSERT INTO turnkeeper_turns (session_key, run_id, turn, response_id, items, usage, epoch, created_at)
    SELECT session_key, id, 1, 'resp_' || n,
        '[{{"type":"function_call","call_id":"call_1","name":"look","arguments":"{{}}"}}]', {_USAGE}, 1,
        now() - interval '1 day'
    FROM made_runs WHERE has_tools AND status <> 'queued'
    """,
    """
    INSERT INTO turnkeeper_tool_calls (session_key, run_id, call_id, turn, position, name, arguments,
        arguments_digest, idempotent, status, output)
    SELECT session_key, id, 'call_1', 1, 0, 'look', '"{}"', md5('{}'), NOT was_gated,
        CASE status WHEN 'awaiting_approval' THEN 'awaiting' ELSE 'done' END,
        CASE WHEN status <> 'awaiting_approval' THEN '"done"' END
    FROM made_runs WHERE has_tools AND status <> 'queued'
    """,
    """
    INSERT INTO turnkeeper_approvals (session_key, id, tenant, run_id, call_id, turn, tool, arguments,
        arguments_digest, reason, status, decision_key, expires_at, decided_by, decided_at, created_at)
    SELECT session_key, 'apr_' || lpad(to_hex(n), 16, '0') || session_key, 'default', id, 'call_1', 1, 'look',
        '"{}"', md5('{}'), 'gated', CASE status WHEN 'awaiting_approval' THEN 'pending' ELSE 'approved' END,
        id || ':call_1:1', now() + interval '1 day',
        CASE WHEN status <> 'awaiting_approval' THEN 'ana' END,
        CASE WHEN status <> 'awaiting_approval' THEN now() - interval '1 day' END, now() - interval '1 day'
    FROM made_runs WHERE was_gated AND status <> 'queued'
    """,
]
