"""A configuration as it comes on the wire, and what an operator is told when it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from schema.decode import _explain

if TYPE_CHECKING:
    from schema.configs import Config


def told(kind: type[Config], value: object) -> str:
    """The refusal of a value that does not fit."""
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(value)
    return _explain(caught.value.errors(include_url=False)[0], "jobs/create")
