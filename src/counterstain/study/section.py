"""What the sections of a study have in common: no unknown key, nothing that changes, no yes or no for a number."""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Section", "refuse_booleans"]


def refuse_booleans(record: type, values: Mapping[str, object]) -> None:
    """Refuse yes and no where a number is needed: Python counts them as 1 and 0."""
    hints = get_type_hints(record)
    for name, value in values.items():
        hint = hints.get(name)
        if isinstance(value, Mapping) and isinstance(hint, type) and is_dataclass(hint):
            refuse_booleans(hint, value)
        kinds = _kinds(hint)
        items = value if isinstance(value, list) else [value]
        if kinds & {int, float} and bool not in kinds and any(isinstance(item, bool) for item in items):
            raise ValueError(f"{name} is {value}; a number was needed")


def _kinds(hint: Any) -> set[Any]:
    return {hint}.union(*(_kinds(inner) for inner in get_args(hint)))


class Section(BaseModel):
    """A section of a study: frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _booleans_are_no_numbers(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            refuse_booleans(cls, values)
        return values
