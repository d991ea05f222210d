"""Handlers on a real PostgreSQL, each test in a clone of the migrated database."""
