"""When a tool call ended, the trace that a run belongs to, and the workers that live.

Only additions.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from turnkeeper_storage.migrations import online
from turnkeeper_storage.sql_types import Instant, key_column_type

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# The oldest code that works on a database of this revision.
OLDEST_CODE = "0003"

KEY = key_column_type()


def upgrade() -> None:
    op.add_column("turnkeeper_runs", sa.Column("trace_parent", sa.Text(), nullable=True))
    op.add_column("turnkeeper_tool_calls", sa.Column("ended_at", Instant(), nullable=True))
    op.create_table(
        "turnkeeper_workers",
        sa.Column("owner", KEY, nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("in_flight", sa.Integer(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_turnkeeper_workers"),
    )
    online.set_oldest_code(OLDEST_CODE)


def downgrade() -> None:
    op.drop_table("turnkeeper_workers")
    op.drop_column("turnkeeper_tool_calls", "ended_at")
    op.drop_column("turnkeeper_runs", "trace_parent")
    # what the migration before this one said
    online.set_oldest_code("0003")
