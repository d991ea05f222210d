"""The console in a browser: what its acceptance tests and its screenshots share."""
