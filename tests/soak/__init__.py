"""Whole job lives at a steady rate for a long time: what grows, and what stays level."""
