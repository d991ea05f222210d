"""Tests: unit (pure), integration (a real PostgreSQL), acceptance (a real broker process)."""
