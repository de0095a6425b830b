"""The tables of the first release.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from turnkeeper_storage.sql_types import Instant, JsonText

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = sa.text("status IN ('queued', 'running', 'awaiting_approval')")
ACTIVE = sa.text("status IN ('running', 'awaiting_approval')")
RUNNABLE = sa.text("runnable_since IS NOT NULL")


def upgrade() -> None:
    _agents()
    _approvals()
    _boundaries()
    _run_events()
    _runs()
    _session_items()
    _sessions()
    _tool_calls()
    _turns()


def downgrade() -> None:
    op.drop_table("turnkeeper_turns")
    op.drop_table("turnkeeper_tool_calls")
    op.drop_table("turnkeeper_sessions")
    op.drop_table("turnkeeper_session_items")
    op.drop_table("turnkeeper_runs")
    op.drop_table("turnkeeper_run_events")
    op.drop_table("turnkeeper_boundaries")
    op.drop_table("turnkeeper_approvals")
    op.drop_table("turnkeeper_agents")


def _agents() -> None:
    op.create_table(
        "turnkeeper_agents",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("tools", JsonText(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_turnkeeper_agents")),
    )


def _approvals() -> None:
    op.create_table(
        "turnkeeper_approvals",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("arguments", JsonText(), nullable=False),
        sa.Column("arguments_digest", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("decision_key", sa.Text(), nullable=True),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", Instant(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("session_key", "id", name=op.f("pk_turnkeeper_approvals")),
        sa.UniqueConstraint(
            "session_key", "decision_key", name=op.f("uq_turnkeeper_approvals_session_key_decision_key")
        ),
    )
    op.create_index(
        "ix_turnkeeper_approvals_run_id", "turnkeeper_approvals", ["session_key", "run_id"], unique=False
    )
    op.create_index(
        "ix_turnkeeper_approvals_tenant_status",
        "turnkeeper_approvals",
        ["tenant", "status", "id"],
        unique=False,
    )


def _boundaries() -> None:
    op.create_table(
        "turnkeeper_boundaries",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("boundary", sa.Text(), nullable=False),
        sa.Column("intent", JsonText(), nullable=True),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("session_key", "run_id", "boundary", name=op.f("pk_turnkeeper_boundaries")),
    )


def _run_events() -> None:
    op.create_table(
        "turnkeeper_run_events",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", JsonText(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("session_key", "run_id", "n", name=op.f("pk_turnkeeper_run_events")),
    )


def _runs() -> None:
    op.create_table(
        "turnkeeper_runs",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("seq", BIG, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crashes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("agent_digest", sa.Text(), nullable=True),
        sa.Column("agent_missing_since", Instant(), nullable=True),
        sa.Column("input", JsonText(), nullable=False),
        sa.Column("merged_input", JsonText(), nullable=True),
        sa.Column("stored_input", JsonText(), nullable=True),
        sa.Column("options", JsonText(), nullable=True),
        sa.Column("state_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("input_digest", sa.Text(), nullable=False),
        sa.Column("output", JsonText(), nullable=True),
        sa.Column("error", JsonText(), nullable=True),
        sa.Column("usage", JsonText(), nullable=True),
        sa.Column("deadline", Instant(), nullable=True),
        sa.Column("next_event", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("session_key", "id", name=op.f("pk_turnkeeper_runs")),
        sa.UniqueConstraint(
            "session_key", "idempotency_key", name=op.f("uq_turnkeeper_runs_session_key_idempotency_key")
        ),
        sa.UniqueConstraint("session_key", "seq", name=op.f("uq_turnkeeper_runs_session_key_seq")),
    )
    op.create_index(
        "ix_turnkeeper_runs_head",
        "turnkeeper_runs",
        ["session_key", "seq"],
        unique=False,
        postgresql_where=OPEN,
        sqlite_where=OPEN,
    )
    op.create_index("ix_turnkeeper_runs_tenant_id", "turnkeeper_runs", ["tenant", "id"], unique=False)
    op.create_index(
        "uq_turnkeeper_runs_active",
        "turnkeeper_runs",
        ["session_key"],
        unique=True,
        postgresql_where=ACTIVE,
        sqlite_where=ACTIVE,
    )


def _session_items() -> None:
    op.create_table(
        "turnkeeper_session_items",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("position", BIG, nullable=False),
        sa.Column("run_id", KEY, nullable=True),
        sa.Column("turn", sa.Integer(), nullable=True),
        sa.Column("epoch", BIG, nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("session_key", "position", name=op.f("pk_turnkeeper_session_items")),
    )


def _sessions() -> None:
    op.create_table(
        "turnkeeper_sessions",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("next_seq", BIG, server_default="1", nullable=False),
        sa.Column("next_position", BIG, server_default="1", nullable=False),
        sa.Column("epoch", BIG, server_default="0", nullable=False),
        sa.Column("lease_id", sa.Text(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("taken_over", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("runnable_since", Instant(), nullable=True),
        sa.Column("parked_run", KEY, nullable=True),
        sa.Column("store", sa.Text(), server_default="database", nullable=False),
        sa.Column("metadata", JsonText(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("session_key", name=op.f("pk_turnkeeper_sessions")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_turnkeeper_sessions_runnable_since",
        "turnkeeper_sessions",
        ["runnable_since"],
        unique=False,
        postgresql_where=RUNNABLE,
        sqlite_where=RUNNABLE,
    )
    op.create_index("ix_turnkeeper_sessions_tenant_id", "turnkeeper_sessions", ["tenant", "id"], unique=False)


def _tool_calls() -> None:
    op.create_table(
        "turnkeeper_tool_calls",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arguments", JsonText(), nullable=False),
        sa.Column("arguments_digest", sa.Text(), nullable=False),
        sa.Column("idempotent", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("output", JsonText(), nullable=True),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("deadline", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("session_key", "run_id", "call_id", name=op.f("pk_turnkeeper_tool_calls")),
    )


def _turns() -> None:
    op.create_table(
        "turnkeeper_turns",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("response_id", sa.Text(), nullable=True),
        sa.Column("items", JsonText(), nullable=False),
        sa.Column("usage", JsonText(), nullable=False),
        sa.Column("epoch", BIG, nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("session_key", "run_id", "turn", name=op.f("pk_turnkeeper_turns")),
    )
