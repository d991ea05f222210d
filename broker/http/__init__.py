"""The HTTP doors: AWS's dialect, the seeds' REST, /api/v1, and what watches the process."""
