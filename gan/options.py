"""Command-line flags made from settings: a field is a flag, its description the flag's help."""

import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Command = TypeVar("Command", bound=Callable[..., Any])


def options(kind: type[BaseModel]) -> Callable[[Command], Command]:
    """Gives a command a flag for every field of `kind`, those of nested settings included.

    The flags have no defaults of their own: what was not given stays `None`, so that presets and
    then the fields' defaults can fill in.
    """

    def decorate(command: Command) -> Command:
        for _, name, field in reversed(list(_fields(kind))):
            command = _option(name, field)(command)
        return command

    return decorate


def given(kind: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, nested the way `kind` is."""
    result: dict[str, Any] = {}
    for path, name, _ in _fields(kind):
        value = values.get(name)
        if value is None or value == ():
            continue
        inner = result
        for step in path:
            inner = inner.setdefault(step, {})
        inner[name] = value
    return result


def _fields(
    kind: type[BaseModel], path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], str, FieldInfo]]:
    found = []
    for name, field in kind.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            found += _fields(nested, (*path, name))
        elif not _is_union_of_models(nested):
            found.append((path, name, field))
    return found


def _is_union_of_models(annotation: Any) -> bool:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return union and all(
        isinstance(part, type) and issubclass(part, BaseModel)
        for part in typing.get_args(annotation)
    )


_SHORT = {"byte_pairs": "--bpe"}  # what people call it, beside the flag of the field's own name


def _option(name: str, field: FieldInfo) -> Callable[[Command], Command]:
    flag = "--" + name.replace("_", "-")
    annotation, multiple = field.annotation, False
    if typing.get_origin(annotation) is tuple:
        annotation, multiple = typing.get_args(annotation)[0], True
    default = field.default
    shown = f"  [{', '.join(map(str, default)) if isinstance(default, tuple) else default}]"
    text = (field.description or "") + (shown if default not in ("", (), None) else "")
    if annotation is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
    if typing.get_origin(annotation) is typing.Literal:
        choices = click.Choice([str(choice) for choice in typing.get_args(annotation)])
        return click.option(flag, name, type=choices, multiple=multiple, help=text)
    flags = (_SHORT[name], flag) if name in _SHORT else (flag,)
    return click.option(*flags, name, type=annotation, multiple=multiple, help=text)
