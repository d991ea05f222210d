"""Commands on a job beyond AWS's: their payloads."""

from __future__ import annotations

from schema.commands import Command
from schema.fields import Text


class CommentedCommand(Command):
    """jobs/{id}/pause and jobs/{id}/resume: nothing but a comment, which the audit keeps."""

    comment: Text | None = None
