"""The JSON card beside a model's weights: settings that fit, in a format that is known."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from data_tools.errors import UserError

Card = TypeVar("Card", bound=BaseModel)


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
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["format"]
        if found != expected:
            raise UserError(f"{path}: format {found}, this version reads format {expected}")
        return kind(**content)
    except OSError as error:
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
