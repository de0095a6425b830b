"""What approvals need: only additions, so that workers of the release before go on beside it.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from turnkeeper_storage.sql_types import Instant, JsonText

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DUE = sa.text("status = 'pending' AND expires_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("turnkeeper_runs", sa.Column("parked_turn", sa.Integer(), nullable=True))
    op.add_column("turnkeeper_runs", sa.Column("sticky", JsonText(), nullable=True))
    op.add_column("turnkeeper_turns", sa.Column("added", JsonText(), nullable=True))
    op.add_column(
        "turnkeeper_tool_calls", sa.Column("kind", sa.Text(), server_default="function", nullable=False)
    )
    op.add_column("turnkeeper_tool_calls", sa.Column("tool_digest", sa.Text(), nullable=True))
    for column in (
        sa.Column("turn", sa.Integer(), nullable=True),
        sa.Column("edited_arguments", JsonText(), nullable=True),
        sa.Column("tool_digest", sa.Text(), nullable=True),
        sa.Column("agent_digest", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("sticky", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("available_at", Instant(), nullable=True),
    ):
        op.add_column("turnkeeper_approvals", column)
    op.create_index(
        "ix_turnkeeper_approvals_due",
        "turnkeeper_approvals",
        ["expires_at"],
        unique=False,
        postgresql_where=DUE,
        sqlite_where=DUE,
    )


def downgrade() -> None:
    op.drop_index("ix_turnkeeper_approvals_due", table_name="turnkeeper_approvals")
    for name in (
        "available_at",
        "sticky",
        "outcome",
        "agent_digest",
        "tool_digest",
        "edited_arguments",
        "turn",
    ):
        op.drop_column("turnkeeper_approvals", name)
    op.drop_column("turnkeeper_tool_calls", "tool_digest")
    op.drop_column("turnkeeper_tool_calls", "kind")
    op.drop_column("turnkeeper_turns", "added")
    op.drop_column("turnkeeper_runs", "sticky")
    op.drop_column("turnkeeper_runs", "parked_turn")
