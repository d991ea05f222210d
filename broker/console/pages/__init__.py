"""The pages, one to a file."""
