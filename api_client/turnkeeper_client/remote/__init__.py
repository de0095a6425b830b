"""The client of the HTTP API, for backends that may not reach the database."""
