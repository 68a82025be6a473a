"""The JSON card beside a model's weights: settings that fit, in a format that is known."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from data_tools.errors import UserError
from data_tools.files import parse_json

Card = TypeVar("Card", bound=BaseModel)
_KINDS = {"classifier.json": "classifier", "generator.json": "generator", "judge.json": "judge"}


def read_card(path: Path, kind: type[Card], expected: int, what: str) -> Card:
    """Reads a card.

    Args:
        path: the JSON file.
        kind: what it must hold; has the field `format`.
        expected: the format this version reads.
        what: "classifier" or "generator", for messages.

    Raises:
        UserError: missing, malformed, or of another format.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        found = content["format"]
        if found != expected:
            raise UserError(f"{path}: format {found}, this version reads format {expected}")
        return kind(**content)
    except OSError as error:
        refuse_others(path.parent, what)
        raise UserError(
            f"{path}: {error.strerror}; a {what} is a folder with {path.name}, "
            "model.safetensors and representation.json"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {place}: {first['msg']}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a {what}'s settings ({error})") from None


def refuse_others(folder: Path, what: str) -> None:
    """Tells a folder, or a run, that holds something else than is wanted, or is not there.

    Raises:
        UserError: it does, or is not.
    """
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; a {what} is needed here")
    if (folder / "corpus.json").is_file():
        raise UserError(f"{folder}: a corpus; a {what} is needed here")
    for name, other in _KINDS.items():
        # A run has what it made in a folder of that name.
        if other != what and any((place / name).is_file() for place in (folder, folder / other)):
            raise UserError(f"{folder}: a {other}; a {what} is needed here")
