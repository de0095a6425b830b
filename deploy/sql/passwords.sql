-- Passwords for the roles of roles.sql, out of the environment of psql (15 or newer), so that no file holds them.
\getenv migrate_password MIGRATE_PASSWORD
\getenv worker_password WORKER_PASSWORD
\getenv web_password WEB_PASSWORD
\getenv operator_password OPERATOR_PASSWORD
ALTER ROLE turnkeeper_migrate PASSWORD :'migrate_password';
ALTER ROLE turnkeeper_worker PASSWORD :'worker_password';
ALTER ROLE turnkeeper_web PASSWORD :'web_password';
ALTER ROLE turnkeeper_operator PASSWORD :'operator_password';
