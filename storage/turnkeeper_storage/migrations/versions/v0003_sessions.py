"""The life of a session: its owner, how long and in which conversation it is kept, who edited it.

Only additions.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from turnkeeper_storage.sql_types import Instant, JsonText, key_column_type

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RETAINED = sa.text("retention_seconds IS NOT NULL")
KEY = key_column_type()


def upgrade() -> None:
    op.add_column(
        "turnkeeper_sessions", sa.Column("hooked", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("turnkeeper_sessions", sa.Column("owner", sa.Text(), nullable=True))
    op.add_column("turnkeeper_sessions", sa.Column("retention_seconds", sa.Float(), nullable=True))
    op.create_index(
        "ix_turnkeeper_sessions_retention",
        "turnkeeper_sessions",
        ["session_key"],
        unique=False,
        postgresql_where=RETAINED,
        sqlite_where=RETAINED,
    )
    op.create_table(
        "turnkeeper_session_edits",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("id", KEY, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("edited_by", sa.Text(), nullable=True),
        sa.Column("item_count", sa.Integer(), nullable=True),
        sa.Column("fields", JsonText(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("session_key", "id", name="pk_turnkeeper_session_edits"),
    )
    op.create_index(
        "ix_turnkeeper_session_edits_tenant_id", "turnkeeper_session_edits", ["tenant", "id"], unique=False
    )
    op.create_table(
        "turnkeeper_conversations",
        sa.Column("session_key", KEY, nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("session_key", name="pk_turnkeeper_conversations"),
    )


def downgrade() -> None:
    op.drop_table("turnkeeper_conversations")
    op.drop_index("ix_turnkeeper_session_edits_tenant_id", table_name="turnkeeper_session_edits")
    op.drop_table("turnkeeper_session_edits")
    op.drop_index("ix_turnkeeper_sessions_retention", table_name="turnkeeper_sessions")
    op.drop_column("turnkeeper_sessions", "retention_seconds")
    op.drop_column("turnkeeper_sessions", "owner")
    op.drop_column("turnkeeper_sessions", "hooked")
