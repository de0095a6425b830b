-- Turnkeeper's roles, for database turnkeeper, schema public. Safe to repeat.
BEGIN;
DO $turnkeeper$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'turnkeeper_migrate') THEN CREATE ROLE turnkeeper_migrate LOGIN; END IF; END $turnkeeper$;
DO $turnkeeper$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'turnkeeper_worker') THEN CREATE ROLE turnkeeper_worker LOGIN; END IF; END $turnkeeper$;
DO $turnkeeper$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'turnkeeper_web') THEN CREATE ROLE turnkeeper_web LOGIN; END IF; END $turnkeeper$;
DO $turnkeeper$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'turnkeeper_operator') THEN CREATE ROLE turnkeeper_operator LOGIN; END IF; END $turnkeeper$;
GRANT CONNECT ON DATABASE turnkeeper TO turnkeeper_migrate, turnkeeper_worker, turnkeeper_web, turnkeeper_operator;
CREATE SCHEMA IF NOT EXISTS public;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO turnkeeper_migrate;
GRANT USAGE ON SCHEMA public TO turnkeeper_worker, turnkeeper_web, turnkeeper_operator;
DO $turnkeeper$ DECLARE found text; BEGIN FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'turnkeeper\_%' LOOP EXECUTE format('ALTER TABLE %I.%I OWNER TO %I', 'public', found, 'turnkeeper_migrate'); END LOOP; END $turnkeeper$;
COMMIT;
