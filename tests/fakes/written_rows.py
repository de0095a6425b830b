"""Which rows are written, by triggers: the database's own word, whatever the statements look like."""

from __future__ import annotations

import psycopg

PREFIX = "turnkeeper_"
_SET_UP = """
CREATE UNLOGGED TABLE written_rows (name text NOT NULL, action text NOT NULL);
CREATE FUNCTION note_written_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO written_rows VALUES (TG_TABLE_NAME, lower(TG_OP));
    RETURN NULL;
END $$;
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE tablename LIKE 'turnkeeper\\_%' LOOP
        EXECUTE format('CREATE TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON %I'
                       ' FOR EACH ROW EXECUTE FUNCTION note_written_row()', name);
    END LOOP;
END $$
"""
_TAKE = (
    "WITH gone AS (DELETE FROM written_rows RETURNING name, action) SELECT name, action, count(*) FROM gone"
)


class WrittenRows:
    """Notes each row that is written to one of our tables of a database, from now on."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_SET_UP)

    def taken(self) -> dict[str, dict[str, int]]:
        """How many rows were written since the last call: by table (without our prefix), by action."""
        found: dict[str, dict[str, int]] = {}
        with psycopg.connect(self._url) as connection:
            for name, action, count in connection.execute(_TAKE + " GROUP BY 1, 2 ORDER BY 1, 2"):
                found.setdefault(name.removeprefix(PREFIX), {})[action] = count
        return found
