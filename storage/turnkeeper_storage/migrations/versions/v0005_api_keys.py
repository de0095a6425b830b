"""Keys of the HTTP API.

Only additions.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from turnkeeper_storage.migrations import online
from turnkeeper_storage.sql_types import Instant, JsonText, key_column_type

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The oldest code that works on a database of this revision.
OLDEST_CODE = "0003"

KEY = key_column_type()


def upgrade() -> None:
    op.create_table(
        "turnkeeper_api_keys",
        sa.Column("id", KEY, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", JsonText(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("last_used_at", Instant(), nullable=True),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_turnkeeper_api_keys"),
    )
    op.create_index("ix_turnkeeper_api_keys_tenant", "turnkeeper_api_keys", ["tenant"], unique=False)
    online.set_oldest_code(OLDEST_CODE)


def downgrade() -> None:
    op.drop_table("turnkeeper_api_keys")
    # what the migration before this one said
    online.set_oldest_code("0003")
