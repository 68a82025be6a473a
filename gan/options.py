"""Command-line flags made from settings: a field is a flag, its description the flag's help."""

import types
import typing
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, TypeVar

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Command = TypeVar("Command", bound=Callable[..., Any])


def options(kind: type[BaseModel], choices: bool = False) -> Callable[[Command], Command]:
    """Gives a command a flag for every field of `kind`, those of nested settings included.

    The flags have no defaults of their own: what was not given stays `None`, so that presets and
    then the fields' defaults can fill in.

    Args:
        kind: the settings.
        choices: also flags for what only one of several kinds of nested settings has.
    """

    def decorate(command: Command) -> Command:
        for _, name, field in reversed(_fields(kind, choices=choices)):
            command = _option(name, field)(command)
        return command

    return decorate


def sectioned(sections: Mapping[str, str]) -> type[click.Command]:
    """A command whose `--help` lists its flags under headings: a hundred in a row hide each other.

    Args:
        sections: the heading that stands above a flag, by the flag's parameter; in their order.
    """

    class Sectioned(click.Command):
        def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            """Writes the flags, `--help` with the first."""
            *named, asks = self.get_params(ctx)
            parts: list[tuple[str, list[tuple[str, str]]]] = [("Options", [])]
            for parameter in named:
                if parameter.name in sections:
                    parts.append((sections[parameter.name], []))
                if (record := parameter.get_help_record(ctx)) is not None:
                    parts[-1][1].append(record)
            first = next(records for _, records in parts if records)
            first += [record] if (record := asks.get_help_record(ctx)) else []
            for heading, records in parts:
                if records:
                    with formatter.section(heading):
                        formatter.write_dl(records)

    return Sectioned


def names(kind: type[BaseModel], choices: bool = False) -> set[str]:
    """The fields that have flags; see `options`."""
    return {name for _, name, _ in _fields(kind, choices=choices)}


def given(kind: type[BaseModel], values: dict[str, Any], choices: bool = False) -> dict[str, Any]:
    """The flags that were given, nested the way `kind` is."""
    result: dict[str, Any] = {}
    for path, name, field in _fields(kind, choices=choices):
        value = values.get(name)
        if value is None or value == ():
            continue
        inner = result
        for step in path:
            inner = inner.setdefault(step, {})
        inner[name] = _number(value, field)
    return result


def _number(value: Any, field: FieldInfo) -> Any:
    """A choice among numbers, which reaches us as text, as the number."""
    if typing.get_origin(field.annotation) is typing.Literal and isinstance(value, str):
        return next(each for each in typing.get_args(field.annotation) if str(each) == value)
    return value


def _fields(
    kind: type[BaseModel], path: tuple[str, ...] = (), choices: bool = False
) -> list[tuple[tuple[str, ...], str, FieldInfo]]:
    found: list[tuple[tuple[str, ...], str, FieldInfo]] = []
    for name, field in kind.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            inner = _fields(nested, (*path, name), choices)
            found += [(where, each, _as_in(field.default, each, own)) for where, each, own in inner]
        elif models := _union_of_models(nested):
            every = [each for one in models for each in _fields(one, (*path, name))]
            named = {each[1]: each for each in reversed(every)}  # the first of a name counts
            del named["kind"]  # `--model` says it
            if choices:
                found += [each for each in every if named.get(each[1]) is each]
        else:
            found.append((path, name, field))
    return found


def _as_in(settings: Any, name: str, field: FieldInfo) -> FieldInfo:
    """A nested field with the default that it has in `settings`, which may not be its own."""
    if not hasattr(settings, name):
        return field
    field = copy(field)
    field.default = getattr(settings, name)
    return field


def _union_of_models(annotation: Any) -> list[type[BaseModel]]:
    """The kinds of nested settings a field may hold, none where it holds something else."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return []
    parts = typing.get_args(annotation)
    plain = [
        typing.get_args(part)[0] if typing.get_origin(part) is typing.Annotated else part
        for part in parts
    ]
    fits = all(isinstance(part, type) and issubclass(part, BaseModel) for part in plain)
    return plain if fits else []


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
    return click.option(*flags, name, type=_ranged(annotation, field), multiple=multiple, help=text)


def _ranged(annotation: Any, field: FieldInfo) -> Any:
    """The numbers a field allows as click knows them: `--help` shows them, others are refused."""
    kinds: dict[Any, Any] = {int: click.IntRange, float: click.FloatRange}
    bounds: dict[str, Any] = {}
    for each in field.metadata:
        for name, end, is_open in (
            ("ge", "min", False), ("gt", "min", True), ("le", "max", False), ("lt", "max", True),
        ):  # fmt: skip
            if (value := getattr(each, name, None)) is not None:
                bounds |= {end: value, f"{end}_open": is_open}
    return kinds[annotation](**bounds) if bounds and annotation in kinds else annotation
