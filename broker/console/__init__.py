"""The console: pages in a browser, made of what the HTTP API says; a client of it and nothing more."""
