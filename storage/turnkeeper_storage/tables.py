"""The tables (PROTOCOL §1). The constraints, not the code, are the last word on order and uniqueness."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from turnkeeper_storage.sql_types import Instant, JsonText, key_column_type, now

# The migration whose tables these are.
REVISION = "0006"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Key = key_column_type()
# SQLite calls only INTEGER an integer key; both are 64 bits there.
Big = BigInteger().with_variant(Integer(), "sqlite")

OPEN = text("status IN ('queued', 'running', 'awaiting_approval')")
ACTIVE = text("status IN ('running', 'awaiting_approval')")
DUE = text("status = 'pending' AND expires_at IS NOT NULL")
WITH_DEADLINE = text("status IN ('queued', 'running', 'awaiting_approval') AND deadline IS NOT NULL")
QUEUED = text("status = 'queued'")
RETAINED = text("retention_seconds IS NOT NULL")

sessions = Table(
    "turnkeeper_sessions",
    metadata,
    Column("session_key", Key, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("next_seq", Big, nullable=False, server_default="1"),
    Column("next_position", Big, nullable=False, server_default="1"),
    Column("epoch", Big, nullable=False, server_default="0"),
    Column("lease_id", Text),
    Column("lease_owner", Text),
    Column("lease_until", Instant),
    # whether the last claim followed a lease that nobody gave back: how its RETURNING tells the claimer
    Column("taken_over", Boolean, nullable=False, server_default=false()),
    Column("runnable_since", Instant),
    # its head crashed its workers: with how many others of its kind it may be, or is, in one process
    Column("suspect", Integer),
    Column("parked_run", Key),
    # where the items live; empty until something is written there
    Column("store", Text, nullable=False, server_default="database"),
    # its items pass a hook of its workers on their way: only a worker may add some
    Column("hooked", Boolean, nullable=False, server_default=false()),
    Column("owner", Text),
    Column("metadata", JsonText),
    # how long after its last change the session is deleted; null: what the setting says
    Column("retention_seconds", Float),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Index("ix_turnkeeper_sessions_tenant_id", "tenant", "id"),
    Index(
        "ix_turnkeeper_sessions_runnable_since",
        "runnable_since",
        postgresql_where=text("runnable_since IS NOT NULL"),
        sqlite_where=text("runnable_since IS NOT NULL"),
    ),
    Index(
        "ix_turnkeeper_sessions_retention",
        "session_key",
        postgresql_where=RETAINED,
        sqlite_where=RETAINED,
    ),
    postgresql_with={"fillfactor": "70"},
)

runs = Table(
    "turnkeeper_runs",
    metadata,
    Column("session_key", Key, nullable=False),
    Column("id", Key, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("seq", Big, nullable=False),
    Column("status", Text, nullable=False),
    Column("turn", Integer, nullable=False, server_default="0"),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("agent", Text, nullable=False),
    Column("agent_digest", Text),
    Column("agent_missing_since", Instant),
    # the history holds the calls up to this turn, without that turn's outputs
    Column("parked_turn", Integer),
    # by tool: what a person decided for all its calls in this run
    Column("sticky", JsonText),
    Column("input", JsonText, nullable=False),
    Column("merged_input", JsonText),
    Column("stored_input", JsonText),
    Column("options", JsonText),
    Column("state_version", Integer, nullable=False, server_default="1"),
    Column("idempotency_key", Text),
    Column("input_digest", Text, nullable=False),
    # of the span that enqueued it, as the W3C header `traceparent`
    Column("trace_parent", Text),
    Column("output", JsonText),
    Column("error", JsonText),
    Column("usage", JsonText),
    Column("deadline", Instant),
    Column("next_event", Integer, nullable=False, server_default="1"),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    PrimaryKeyConstraint("session_key", "id"),
    UniqueConstraint("session_key", "seq"),
    UniqueConstraint("session_key", "idempotency_key"),
    Index("ix_turnkeeper_runs_head", "session_key", "seq", postgresql_where=OPEN, sqlite_where=OPEN),
    # the database itself refuses a second active run of a session
    Index(
        "uq_turnkeeper_runs_active", "session_key", unique=True, postgresql_where=ACTIVE, sqlite_where=ACTIVE
    ),
    Index("ix_turnkeeper_runs_tenant_id", "tenant", "id"),
    Index(
        "ix_turnkeeper_runs_deadline", "deadline", postgresql_where=WITH_DEADLINE, sqlite_where=WITH_DEADLINE
    ),
    Index("ix_turnkeeper_runs_queued", "tenant", postgresql_where=QUEUED, sqlite_where=QUEUED),
)

session_items = Table(
    "turnkeeper_session_items",
    metadata,
    Column("session_key", Key, nullable=False),
    Column("position", Big, nullable=False),
    Column("run_id", Key),
    Column("turn", Integer),
    Column("epoch", Big),
    # Text, not JsonText: a row that cannot be read is skipped, so it is decoded one by one
    Column("data", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("session_key", "position"),
)

boundaries = Table(
    "turnkeeper_boundaries",
    metadata,
    Column("session_key", Key, nullable=False),
    Column("run_id", Key, nullable=False),
    Column("boundary", Text, nullable=False),
    # of a store outside the database: what is about to be added there, and the tail that it had
    Column("intent", JsonText),
    Column("done", Boolean, nullable=False),
    PrimaryKeyConstraint("session_key", "run_id", "boundary"),
)

turns = Table(
    "turnkeeper_turns",
    metadata,
    Column("session_key", Key, nullable=False),
    Column("run_id", Key, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("response_id", Text),
    Column("items", JsonText, nullable=False),
    # items that a caller put after this turn's outputs while the run was parked
    Column("added", JsonText),
    Column("usage", JsonText, nullable=False),
    Column("epoch", Big, nullable=False),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("session_key", "run_id", "turn"),
)

tool_calls = Table(
    "turnkeeper_tool_calls",
    metadata,
    Column("session_key", Key, nullable=False),
    Column("run_id", Key, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    # as JSON texts: models and tools write NUL and lone surrogates, which PostgreSQL's text refuses
    Column("arguments", JsonText, nullable=False),
    Column("arguments_digest", Text, nullable=False),
    Column("idempotent", Boolean, nullable=False),
    Column("kind", Text, nullable=False, server_default="function"),
    # of the gated tool when its approval was asked for; null: the call is not gated
    Column("tool_digest", Text),
    Column("status", Text, nullable=False),
    Column("output", JsonText),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("deadline", Instant),
    PrimaryKeyConstraint("session_key", "run_id", "call_id"),
)

approvals = Table(
    "turnkeeper_approvals",
    metadata,
    Column("session_key", Key, nullable=False),
    Column("id", Key, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("run_id", Key, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("turn", Integer),
    Column("tool", Text, nullable=False),
    Column("arguments", JsonText, nullable=False),
    Column("edited_arguments", JsonText),
    Column("arguments_digest", Text, nullable=False),
    Column("tool_digest", Text),
    Column("agent_digest", Text),
    Column("reason", Text, nullable=False),
    Column("status", Text, nullable=False),
    # of a call in doubt: what the person said about it
    Column("outcome", Text),
    Column("sticky", Boolean, nullable=False, server_default=false()),
    Column("decision_key", Text),
    Column("expires_at", Instant),
    # of a call in doubt: no decision before, the call may still be at work
    Column("available_at", Instant),
    Column("decided_by", Text),
    Column("decided_at", Instant),
    Column("note", Text),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("session_key", "id"),
    UniqueConstraint("session_key", "decision_key"),
    Index("ix_turnkeeper_approvals_run_id", "session_key", "run_id"),
    Index("ix_turnkeeper_approvals_tenant_status", "tenant", "status", "id"),
    Index("ix_turnkeeper_approvals_due", "expires_at", postgresql_where=DUE, sqlite_where=DUE),
)

run_events = Table(
    "turnkeeper_run_events",
    metadata,
    Column("session_key", Key, nullable=False),
    Column("run_id", Key, nullable=False),
    Column("n", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JsonText, nullable=False),
    Column("created_at", Instant, nullable=False, default=now()),
    PrimaryKeyConstraint("session_key", "run_id", "n"),
)

agents = Table(
    "turnkeeper_agents",
    metadata,
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("tools", JsonText, nullable=False),
    Column("seen_at", Instant, nullable=False),
)

# worker processes, by the name that they take leases in; a look at who is there, nothing rests on it
workers = Table(
    "turnkeeper_workers",
    metadata,
    Column("owner", Key, primary_key=True),
    Column("queue", Text, nullable=False),
    # sessions that it works on at once at most, and now
    Column("slots", Integer, nullable=False),
    Column("in_flight", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
)

# who edited which session, and how; without contents, and kept when the session is deleted
session_edits = Table(
    "turnkeeper_session_edits",
    metadata,
    Column("session_key", Key, nullable=False),
    Column("id", Key, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("edited_by", Text),
    Column("item_count", Integer),
    Column("fields", JsonText),
    Column("created_at", Instant, nullable=False),
    PrimaryKeyConstraint("session_key", "id"),
    Index("ix_turnkeeper_session_edits_tenant_id", "tenant", "id"),
)

# which conversation of a service a session is kept in; a session used alone has no row in `sessions`
conversations = Table(
    "turnkeeper_conversations",
    metadata,
    Column("session_key", Key, primary_key=True),
    Column("conversation_id", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)

# keys of the HTTP API; of its secret a key keeps the hash only
api_keys = Table(
    "turnkeeper_api_keys",
    metadata,
    Column("id", Key, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", JsonText, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
    Column("revoked_at", Instant),
    Index("ix_turnkeeper_api_keys_tenant", "tenant"),
)

# one row: the oldest code (by the revision that it was made for) that may use the database as it is
compatibility = Table(
    "turnkeeper_compatibility",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("oldest_code", Text, nullable=False),
)
