"""A preset's model in another family or size: what of it stays, and what gives way."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError


def refitted(
    preset: Mapping[str, Any],
    asked: Mapping[str, Any],
    families: Sequence[type[BaseModel]],
    of_size: Collection[str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A preset's model as one of another family or size.

    What says how large it is comes from what was asked for; all else of the preset stays, where the
    family has such a setting and it may hold that value.

    Args:
        preset: the model's fields in the preset.
        asked: `kind` and size, as `sized` gives them.
        families: settings of every family.
        of_size: the fields that say how large a model is, of any family.

    Returns:
        The fields, and those of the preset that gave way.
    """
    family = next(each for each in families if each.model_fields["kind"].default == asked["kind"])
    fields, lost = dict(asked), {}
    for name, value in preset.items():
        if name == "kind":
            continue
        # A slip of the pen stays, for `build` to tell.
        known = any(name in each.model_fields for each in families)
        if not known or (name not in of_size and _may_hold(family, asked, name, value)):
            fields[name] = value
        elif fields.get(name) != value:
            lost[name] = value
    return fields, lost


def _may_hold(family: type[BaseModel], asked: Mapping[str, Any], name: str, value: object) -> bool:
    try:
        family.model_validate({**asked, name: value})
    except ValidationError:
        return False
    return True


def gave_way(lost: Mapping[str, Any]) -> str:
    """The line that says what of a preset's model gave way."""
    told = ", ".join(f"{name} {value}" for name, value in lost.items())
    return f"note: of the preset's model, {told} gave way to --model or --size"
