"""What every section of the settings has in common."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """Frozen, without unknown keys; ``true`` is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError("must be a number")
        return value


def _plain_topic(value: str) -> str:
    if not re.fullmatch(r"[^+#$/\x00-\x1f]([^+#\x00-\x1f]*[^+#/\x00-\x1f])?", value):
        raise ValueError("must be a plain topic without wildcards, and without / at its ends")
    return value


PlainTopic = Annotated[str, AfterValidator(_plain_topic)]
"""The beginning of other topics."""
