"""Crashing runs kept apart from others, deadlines found by the sweeper, queued runs counted by tenant.

Only additions, and the table that tells older code so from now on.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from turnkeeper_storage.migrations import online

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The oldest code that works on a database of this revision.
OLDEST_CODE = "0003"

WITH_DEADLINE = sa.text("status IN ('queued', 'running', 'awaiting_approval') AND deadline IS NOT NULL")
QUEUED = sa.text("status = 'queued'")


def upgrade() -> None:
    online.create_index("ix_turnkeeper_runs_deadline", "turnkeeper_runs", ["deadline"], where=WITH_DEADLINE)
    online.create_index("ix_turnkeeper_runs_queued", "turnkeeper_runs", ["tenant"], where=QUEUED)
    op.add_column("turnkeeper_sessions", sa.Column("suspect", sa.Integer(), nullable=True))
    op.create_table(
        "turnkeeper_compatibility",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("oldest_code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_turnkeeper_compatibility"),
    )
    online.set_oldest_code(OLDEST_CODE)


def downgrade() -> None:
    op.drop_table("turnkeeper_compatibility")
    op.drop_column("turnkeeper_sessions", "suspect")
    op.drop_index("ix_turnkeeper_runs_queued", table_name="turnkeeper_runs")
    op.drop_index("ix_turnkeeper_runs_deadline", table_name="turnkeeper_runs")
