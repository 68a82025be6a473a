"""The samples of an evaluation as files, those of an earlier one in the same folder taken away.

A list of what was written, with digests, lies beside the systems' folders. A file that goes by the
name of a new sample is written anew; of the others, one that is not in the list, or no longer what
was written, is somebody's own and stays. The list names new files before they
are written and old ones until they are gone, so that a killed command leaves nothing unknown.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from data_tools.errors import UserError
from data_tools.files import file_digest, parse_json, write_bytes, write_json

LIST = ".written.json"


def refuse_taken(out: Path) -> None:
    """Refuses a folder of somebody's own for an evaluation, whose files it would mix up.

    Raises:
        UserError: there are things in it, and they are no evaluation.
    """
    if not out.is_dir() or (out / "evaluation.json").is_file() or _listed(out / "samples"):
        return
    if any(not path.name.startswith(".") for path in out.iterdir()):
        raise UserError(f"{out}: not empty and no evaluation; choose another --out")


def write_samples(folder: Path, music: Mapping[str, Sequence[bytes]]) -> None:
    """Writes `SYSTEM/000.mid` and so on, then takes away what an earlier call wrote besides.

    Each file is written whole or not at all.

    Args:
        folder: of all systems' samples.
        music: MIDI files by system.
    """
    content = {
        f"{system}/{number:03d}.mid": data
        for system, pieces in music.items()
        for number, data in enumerate(pieces)
    }
    new = {name: [hashlib.sha256(data).hexdigest()] for name, data in content.items()}
    old = _listed(folder)
    # A file may be what it was or what it will be, until all are written.
    write_json(folder / LIST, {name: old.get(name, []) + new.get(name, []) for name in old | new})
    for name, data in content.items():
        write_bytes(folder / name, data)
    for name in old.keys() - new.keys():
        _take_away(folder, name, old[name])
    write_json(folder / LIST, new)


def _listed(folder: Path) -> dict[str, list[str]]:
    """Digests by name; nothing where the list is missing or is none."""
    try:
        listed = parse_json((folder / LIST).read_text("utf-8"))
        return {str(name): [str(digest) for digest in digests] for name, digests in listed.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _take_away(folder: Path, name: str, digests: Sequence[str]) -> None:
    """Removes a file as it was written, and its folder where nothing else is in it."""
    path, parts = folder / name, Path(name).parts
    # A list from elsewhere must not reach out of the folder.
    if len(parts) != 2 or parts[0] in ("..", Path(name).anchor) or path.is_symlink():
        return
    with suppress(OSError):
        if file_digest(path) in digests:
            path.unlink()
            path.parent.rmdir()
