"""What a message does: decisions made durable in PostgreSQL, one transaction per batch."""
