"""Closed sets of words that are looked up in tables for each message."""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """A StrEnum that hashes as the string that it is.

    The enumeration's own hash is a call into Python, ten times the price, and is made for every look-up.
    """

    __hash__ = str.__hash__
