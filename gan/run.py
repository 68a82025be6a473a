"""A run's folder: settings, metrics, TensorBoard and checkpoints, safe against being killed.

    settings.yaml        what was asked for
    metrics.jsonl        one JSON object a logged step
    tensorboard/         the same, with images
    checkpoints/         step-000250/ ..., best -> name in `best`, last -> name in `latest`
    samples/             MIDI written along the way

A checkpoint is a folder written under a temporary name and then renamed; the pointer `latest`
moves only after that. Whatever metrics lie beyond it are cut off when the run resumes.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel
from torch import nn

from data_tools.cards import refuse_others
from data_tools.errors import UserError
from data_tools.files import (
    FULL,
    MIDI_SUFFIXES,
    naming,
    parse_json,
    write_bytes,
    write_json,
    write_text,
)
from gan.stopping import Stop, heeding
from generator.folder import SHIPPED

# How a run is carried out, not what comes of it (but for rounding, and what `generator/README.md`
# says each rank, and each kind of device, draws for itself): other machines may take it over.
FREE = frozenset({"accumulate", "workers", "keep", "compile", "device"})

# What runs did that recorded nothing of a setting, because there was none.
LATER: dict[str, Any] = {"thinning": {"thin_share": 0.0}, "adv_ahead": 1}

_CHECKPOINT = re.compile(r"step-\d+")  # what a person copied to another name is none
_TELLABLE = 80  # characters of a setting, its values then and now


class Run:
    """A run's folder, new or resumed.

    Args:
        folder: where.
        settings: recorded in `settings.yaml`; but for those in `FREE` the same on resume.
        resume: continue from the latest checkpoint, if there is one.
        inputs: what else fixes the outcome (digests), recorded and compared as well.
        main: this process writes; the others of a run only read.

    Raises:
        UserError: the folder is taken, or is to be resumed with other settings.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: BaseModel,
        resume: bool = False,
        inputs: dict[str, str] | None = None,
        main: bool = True,
    ) -> None:
        self.folder, self.main = Path(folder), main
        self.checkpoints = self.folder / "checkpoints"
        record = self.folder / "settings.yaml"
        wanted = settings.model_dump(mode="json") | {"inputs": inputs or {}}
        if record.is_file():
            if not resume:
                raise UserError(f"{folder}: a run lies here already; use --resume or another --out")
            recorded = _recorded(record)
            recorded = {key: LATER[key] for key in LATER & wanted.keys()} | recorded
            free = dict.fromkeys(FREE)
            if changed := _differences(recorded | free, wanted | free):
                longer = f"; train on from its weights with another --out and --init {folder}"
                raise UserError(
                    f"{folder}: its settings.yaml differs in {', '.join(changed)}; resume with the "
                    "same settings and corpus, or start another run"
                    + (longer if "init" in wanted else "")
                )
        else:
            _refuse_taken(self.folder)
            write_text(record, yaml.safe_dump(wanted, sort_keys=False))
        for leftover in self.checkpoints.glob(".step-*") if main else ():
            shutil.rmtree(leftover, ignore_errors=True)

    def latest(self) -> Path | None:
        """The last whole checkpoint, None before the first."""
        return checkpoint_of(self.folder, "latest", missing_ok=True)

    @contextmanager
    def stoppable(self, alone: bool = True) -> Iterator[Stop]:
        """Where the run can go on is said when it is stopped, by a key or by a scheduler.

        Args:
            alone: this is the run's only process.

        Raises:
            KeyboardInterrupt: with those words, on Ctrl-C, SIGTERM or SIGHUP.
            SystemExit: without them, in the other processes of a run.
            UserError: with those words too, where the disk is full.
        """
        try:
            with heeding(self.main, alone) as stop:
                yield stop
        except KeyboardInterrupt:
            if not self.main:
                raise SystemExit(1) from None
            latest = self.latest()
            raise KeyboardInterrupt(
                f"--resume goes on from step {int(latest.name[5:]):,}"
                if latest
                else "before the first checkpoint, so that --resume would begin anew"
            ) from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            latest = self.latest()
            onward = f"goes on from step {int(latest.name[5:]):,}" if latest else "begins anew"
            raise UserError(
                f"{error.filename or self.folder}: {error.strerror}; free some space, then "
                f"--resume {onward}"
            ) from None

    def save(
        self, step: int, write: Callable[[Path], None], state: dict[str, Any], keep: int, best: bool
    ) -> Path:
        """Writes a checkpoint whole or not at all.

        Args:
            step: steps done.
            write: puts weights into the folder it is given.
            state: {"optimizer": ..., anything JSON can hold}; read back by `load_state`.
            keep: how many to keep; the best is kept besides.
            best: whether this is the best so far.
        """
        name = f"step-{step:06d}"
        final = self.checkpoints / name
        partial = self.checkpoints / f".{name}.{os.getpid()}"
        partial.mkdir(parents=True)
        try:
            write(partial)
            # Through a stream, whose own error says why; torch's says that bytes are missing.
            with naming(partial / "optimizer.pt"), (partial / "optimizer.pt").open("wb") as stream:
                torch.save(state["optimizer"], stream)
            facts = {key: value for key, value in state.items() if key != "optimizer"}
            write_json(partial / "trainer.json", facts | {"step": step})
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
            if isinstance(error, OSError) and error.errno:
                error.filename = str(final)  # not a file that is gone
            raise
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
        if best:
            write_text(self.checkpoints / "best", name)
        # Last: a run killed before this line takes the step again, one killed after it goes on.
        write_text(self.checkpoints / "latest", name)
        # A run killed before its pointer moved may have left a later step than this one.
        kept = {name}
        if (self.checkpoints / "best").is_file():
            kept.add((self.checkpoints / "best").read_text())
        for old in _by_step(self.folder)[:-keep]:
            if old.name not in kept:
                shutil.rmtree(old)
        return final

    def cut_metrics(self, step: int) -> None:
        """Drops logged lines of steps the resumed run will take again."""
        path = self.folder / "metrics.jsonl"
        if path.is_file():
            lines = path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if line.endswith(b"\n") and _step_of(line) <= step]
            write_bytes(path, b"".join(kept))


def _step_of(line: bytes) -> float:
    try:
        return float(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):  # only edited by hand, or damaged
        return float("inf")


def load_state(checkpoint: Path, device: torch.device) -> dict[str, Any]:
    """The state saved beside the weights.

    Raises:
        UserError: files are missing or damaged.
    """
    try:
        facts = parse_json((checkpoint / "trainer.json").read_text())
        if not isinstance(facts, dict) or not isinstance(facts.get("step"), int):
            raise ValueError("trainer.json does not say of which step it is")
        optimizer = _unpickled(checkpoint / "optimizer.pt", device)
    except (OSError, ValueError, EOFError) as error:
        onward = _older(checkpoint.parents[1], checkpoint.name)
        raise UserError(f"{checkpoint}: damaged checkpoint ({error}){onward}") from None
    return facts | {"optimizer": optimizer}


def _unpickled(path: Path, device: torch.device) -> Any:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, EOFError, torch.cuda.OutOfMemoryError):
        raise
    except Exception:  # damaged bytes raise anything, and what torch says of them fills a page
        raise ValueError(f"{path.name} is no whole file of tensors") from None


@contextmanager
def resuming(checkpoint: Path) -> Iterator[None]:
    """What a checkpoint is refused for within it comes with how to go on from another.

    Raises:
        UserError: so refused, or its files do not fit each other.
    """
    onward = _older(checkpoint.parents[1], checkpoint.name)
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}{onward}") from None
    except torch.cuda.OutOfMemoryError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise UserError(
            f"{checkpoint}: damaged checkpoint (optimizer.pt and trainer.json are not those of its "
            f"weights){onward}"
        ) from error


def _by_step(folder: Path) -> list[Path]:
    """A run's checkpoints, the oldest first."""
    found = (path for path in folder.glob("checkpoints/step-*") if _CHECKPOINT.fullmatch(path.name))
    return sorted((path for path in found if path.is_dir()), key=lambda path: int(path.name[5:]))


def _older(folder: Path, without: str) -> str:
    """How to go on from another checkpoint of a run, if there is one."""
    steps = [path.name for path in _by_step(folder) if path.name != without]
    pointer = folder / "checkpoints" / "latest"
    return f"; to go on from {steps[-1]}, write that name into {pointer}" if steps else ""


def _recorded(record: Path) -> dict[str, Any]:
    """What a run's settings.yaml holds."""
    try:
        content = yaml.safe_load(record.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError):  # of a date that is none; of deep nesting
        content = None
    if not isinstance(content, dict):
        raise UserError(
            f"{record}: damaged, so that nobody can say whether the run has the same settings; "
            "put it back as it was, or start another run"
        )
    return content


_OTHERS = {
    "corpus.json": "a corpus", "generator.json": "a generator", "classifier.json": "a classifier",
    "evaluation.json": "an evaluation", "curation.json": "a curation",
}  # fmt: skip


# Of a digest that says little by its name.
_TOLD = {
    "inputs.manifest": "of the corpus: labels, splits or sources were edited, or it was built from "
    "a folder of another name; give the one that the run began with, or build it from a folder of "
    "the old name"
}


def _differences(recorded: dict[str, Any], wanted: dict[str, Any], within: str = "") -> list[str]:
    """The names of settings that differ, and from what to what where that is short to say."""
    found = []
    for key in sorted(recorded.keys() | wanted.keys()):
        old, new, name = recorded.get(key), wanted.get(key), f"{within}{key}"
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{name}.")
        elif name in _TOLD:
            found.append(f"{name} ({_TOLD[name]})")
        elif within == "inputs." or len(told := f"{name} ({old} there, {new} now)") > _TELLABLE:
            found.append(name)  # of a digest the name says all
        else:
            found.append(told)
    return found


def _refuse_taken(folder: Path) -> None:
    """A run among other things' files would be replaced with them, or be read as one of them.

    Raises:
        UserError: the folder is something else already.
    """
    what = next((words for name, words in _OTHERS.items() if (folder / name).is_file()), "")
    if not what and any(path.suffix.lower() in MIDI_SUFFIXES for path in folder.glob("*")):
        what = "a folder of music"
    if what:
        raise UserError(f"{folder}: {what}; give the run a folder of its own as --out")


def checkpoint_of(folder: Path, which: str = "latest", missing_ok: bool = False) -> Path | None:
    """The checkpoint a pointer of a run names.

    Raises:
        UserError: there is none, unless `missing_ok`.
    """
    pointer = folder / "checkpoints" / which
    if pointer.is_file():
        name = pointer.read_text(errors="replace").strip()
        whole = _CHECKPOINT.fullmatch(name)
        if whole and (pointer.parent / name).is_dir():
            return pointer.parent / name
        told = f"names a checkpoint that is gone ({name})" if name else "is empty"
        if name.startswith("step-") and not whole:
            told = f"names '{name}', and checkpoints are called step-NUMBER"
        onward = _older(folder, name) if which == "latest" else ""
        raise UserError(f"{pointer}: {told}{onward}")
    if missing_ok:
        return None
    raise UserError(f"{folder}: no checkpoint here yet; train first, or give another run")


def generator_folder(path: Path) -> Path:
    """The generator of a run (finished, or its latest checkpoint), or the folder itself."""
    if (path / "generator.json").is_file():
        return path
    finished = path / "generator"
    if (finished / "generator.json").is_file():
        return finished
    refuse_others(path, "generator")
    found = checkpoint_of(path)
    assert found is not None
    return found


def generator_of(named: str | Path) -> Path:
    """The same by what a user says: a folder, a run, or "ce" or "adv", the two that are shipped."""
    if str(named) in SHIPPED and not Path(named).is_dir():
        return SHIPPED[str(named)]
    return generator_folder(Path(named))


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of a model's weights."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def classifier_folder(path: Path) -> Path:
    """The finished classifier of a `pretrain-disc` run, or the folder itself."""
    return path / "classifier" if (path / "classifier").is_dir() else path
