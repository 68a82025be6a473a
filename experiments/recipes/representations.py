"""What every representation keeps of real music: four presets on two time bases, one table.

    python -m experiments.recipes.representations --archive music.tar.xz --out results.json

Reference are the prepared notes of a file, its sustain pedal folded where the preset folds it. A
decoded note belongs to the nearest reference note of its pitch (and channel) within a grid step,
one to one; what finds no partner is lost. Times are compared from the origin that encoding took
away, and on `beat` along the file's own tempo map; what rounding the tempos to 32 levels does to a
piece's length is a column of its own. A note is exact when onset and end are both the grid's
nearest.
"""

import itertools
import json
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np

from data_tools import midi
from data_tools.ensemble import prepare_parts
from data_tools.errors import MidiError
from data_tools.files import write_json
from data_tools.midi import Notes
from data_tools.parallel import ordered_map
from data_tools.representation import Representation, RepresentationSettings, TokenType
from data_tools.representation.forms import collapse

PRESETS, BASES = ("duration", "performance", "remi", "raw"), ("clock", "beat")
BIN_MS, BINS = 0.1, 5000  # the onset errors' histogram; the last bin takes what is larger
SUMS = (
    "files", "tokens", "seconds", "notes", "kept", "restruck", "out_of_range", "other", "onset_ms",
    "within_half_step", "duration_ms", "exact", "tempo_drift", "proved", "differs",
)  # fmt: skip

Item = tuple[str, bytes, bool]


@cache
def _representation(preset: str, base: str) -> Representation:
    return Representation(RepresentationSettings(preset=preset, time_base=base))


def _lanes(score: midi.ScoreTick) -> tuple[Notes, np.ndarray]:
    """All notes in ticks and their (channel, pitch) as one number, sorted by that and onset."""
    tracks = [(part.channel, midi.notes_of(part.track)) for part in midi.parts.parts_of(score)]
    columns = [
        [getattr(n, key) for _, n in tracks] for key in ("start", "end", "pitch", "velocity")
    ]
    notes = Notes(*(np.concatenate(column) for column in columns))
    lane = np.concatenate([128 * channel + n.pitch.astype(np.int64) for channel, n in tracks])
    order = np.lexsort((notes.start, lane))
    return notes.take(order), lane[order]


def measure(prepared: midi.ScoreTick, rep: Representation, prove: bool) -> dict[str, Any]:
    """Counts and sums over one piece; see `SUMS`, with `histogram`, `max_ms` and `example`."""
    reference, lane = _lanes(prepared)
    if rep.settings.preset != "raw":
        if rep.pedal == "fold":
            reference, lane = _folded(prepared)
        lane = lane % 128
    ids = rep.encode(prepared)
    events = rep.events(ids)
    notes = events.notes
    found_lane = notes.pitch + (128 * events.channels if len(events.channels) else 0)
    per_step = prepared.ticks_per_quarter / rep.steps_per_beat
    true_start, true_end = (_place(prepared, rep, t) for t in (reference.start, reference.end))
    inside = (reference.pitch >= rep.vocabulary.pitches[0]) & (
        reference.pitch <= rep.vocabulary.pitches[1]
    )
    origin = _origin(rep, prepared)
    start, end = notes.start + origin, notes.end + origin
    mine, theirs = _partners(true_start, lane, start, found_lane)

    def milliseconds(steps: np.ndarray) -> np.ndarray:
        if rep.settings.time_base == "clock":
            return steps * 1000 * rep.grid_seconds
        return 1000 * midi.seconds_of(prepared, steps * per_step)

    error = np.abs(milliseconds(start[theirs]) - milliseconds(true_start[mine]))
    length = milliseconds(end[theirs]) - milliseconds(start[theirs])
    true_length = milliseconds(true_end[mine]) - milliseconds(true_start[mine])
    half = np.abs(start[theirs] - true_start[mine]) <= 0.5 + 1e-6
    same_length = np.abs(end[theirs] - true_end[mine]) <= 0.5 + 1e-6
    lost = np.ones(len(reference), dtype=bool)
    lost[mine] = False
    lost &= inside
    seconds = float(midi.seconds_of(prepared, reference.end.max(keepdims=True))[0])
    decoded = rep.decode(ids)
    shift = milliseconds(np.array([origin]))[0] / 1000
    sounding = midi.seconds_of(decoded, notes.start[-1:])[0] + shift
    drift = abs(sounding - milliseconds(start[-1:])[0] / 1000) / max(seconds, 1e-9)
    proof = {"proved": 0, "differs": 0}
    if prove and len(prepared.tracks) == 1:
        proof = {"proved": 1, "differs": int(not _is_miditoks(rep, prepared, ids))}
    length_error = float(np.abs(length - true_length).sum())
    restruck = _restruck(true_start, lane, lost)
    return proof | {
        "files": 1, "tokens": len(ids), "seconds": seconds, "notes": len(reference),
        "kept": len(mine), "restruck": restruck, "out_of_range": int((~inside).sum()),
        "other": int(lost.sum()) - restruck, "onset_ms": float(error.sum()),
        "within_half_step": int(half.sum()), "duration_ms": length_error,
        "exact": int((half & same_length).sum()), "tempo_drift": float(drift),
        "histogram": np.bincount(np.minimum(error / BIN_MS, BINS - 1).astype(int), minlength=BINS),
        "max_ms": float(error.max(initial=0)), "example": " ".join(rep.tokens(ids[:12])),
    }  # fmt: skip


def _folded(prepared: midi.ScoreTick) -> tuple[Notes, np.ndarray]:
    notes = midi.notes_of(prepared.tracks[0])
    table = prepared.tracks[0].pedals.numpy()
    notes = midi.fold_pedal(notes, table["time"], table["time"] + table["duration"])
    notes = midi.clean(notes, pitches=midi.ALL_PITCHES)
    order = np.lexsort((notes.start, notes.pitch))
    notes = notes.take(order)
    return notes, notes.pitch.astype(np.int64)


def _place(score: midi.ScoreTick, rep: Representation, ticks: np.ndarray) -> np.ndarray:
    """Ticks as unrounded grid steps."""
    if rep.settings.time_base == "clock":
        return midi.seconds_of(score, ticks) / rep.grid_seconds
    return ticks * rep.steps_per_beat / score.ticks_per_quarter


def _origin(rep: Representation, score: midi.ScoreTick) -> int:
    """The step that encoding makes its zero: where its first note stands, less that note's step."""
    inside = midi.merged_notes(score)
    lowest, highest = rep.vocabulary.pitches
    kept = inside.start[(inside.pitch >= lowest) & (inside.pitch <= highest)]
    first = int(np.rint(_place(score, rep, kept[:1]))[0])
    return first - int(rep.grid(score).notes.start[0])


def _partners(
    times: np.ndarray, lane: np.ndarray, found: np.ndarray, found_lane: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (reference, decoded): nearest of one lane, at most a step apart, one to one."""
    order = np.lexsort((found, found_lane))
    width = float(max(times.max(initial=0), found.max(initial=0))) + 10
    keys, wanted = found_lane[order] * width + found[order], lane * width + times
    right = np.searchsorted(keys, wanted).clip(1, max(1, len(keys) - 1))
    if len(keys) == 1:
        right[:] = 0
    left = np.maximum(right - 1, 0)
    near = np.where(np.abs(keys[left] - wanted) <= np.abs(keys[right] - wanted), left, right)
    gap = np.abs(keys[near] - wanted)
    by_gap = np.lexsort((gap, near))
    first = np.concatenate([[True], near[by_gap][1:] != near[by_gap][:-1]])[: len(near)]
    mine = np.sort(by_gap[first & (gap[by_gap] <= 1)])
    return mine, order[near[mine]]


def _restruck(times: np.ndarray, lane: np.ndarray, lost: np.ndarray) -> int:
    """How many of the lost notes have a neighbour of their lane within a grid step."""
    close = (lane[1:] == lane[:-1]) & (np.diff(times) <= 1 + 1e-6)
    near = np.concatenate([close, [False]]) | np.concatenate([[False], close])
    return int((lost & near[: len(lost)]).sum())


def _is_miditoks(rep: Representation, prepared: midi.ScoreTick, ids: np.ndarray) -> bool:
    theirs = rep.tokenizer.encode(rep.quantize(prepared))
    theirs = np.array((theirs[0] if isinstance(theirs, list) else theirs).ids)
    if rep.vocabulary.note_offs:
        own = (TokenType.CHANNEL, TokenType.PROGRAM)
        ids = ids[~np.isin(rep.token_types[ids], own)]
        theirs = collapse(theirs, rep.vocabulary)
    return np.array_equal(ids, theirs)


def read_one(item: Item) -> dict[tuple[str, str], dict[str, Any]] | str:
    """Every representation's figures of one file, or the reason why there are none."""
    _, data, prove = item
    try:
        piano, parts = midi.prepare(data, midi.ALL_PITCHES).score, prepare_parts(data).score
        midi.prepare(data)
        return {
            (preset, base): measure(
                parts if preset == "raw" else piano, _representation(preset, base), prove
            )
            for preset, base in itertools.product(PRESETS, BASES)
        }
    except MidiError as error:
        return error.reason


def files_in(archive: Path, every: int) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every so-many-th .mid file of a folder or a tar archive."""
    if archive.is_dir():
        for path in sorted(archive.rglob("*.mid"))[::every]:
            yield path.name, path.read_bytes()
        return
    with tarfile.open(archive) as tar:
        members = (member for member in tar if member.isfile() and member.name.endswith(".mid"))
        for member in itertools.islice(members, 0, None, every):
            stream = tar.extractfile(member)
            assert stream is not None
            yield member.name, stream.read()


def summary(total: dict[str, Any], rep: Representation) -> dict[str, Any]:
    """A row of the table from the sums over all pieces."""
    notes, kept = max(1, total["notes"]), max(1, total["kept"])
    share = np.cumsum(total["histogram"]) / max(1, total["histogram"].sum())
    return {
        "preset": rep.settings.preset, "time_base": rep.settings.time_base,
        "vocabulary": rep.music_size, "example": total["example"],
        "files": total["files"], "notes": total["notes"],
        "tokens_a_note": round(total["tokens"] / kept, 3),
        "tokens_a_second": round(total["tokens"] / max(1e-9, total["seconds"]), 2),
        "kept_percent": round(100 * total["kept"] / notes, 3),
        "lost": {key: total[key] for key in ("restruck", "out_of_range", "other")},
        "onset_error_ms": {
            "mean": round(total["onset_ms"] / kept, 2),
            "p95": round(float((np.argmax(share >= 0.95) + 1) * BIN_MS), 1),
            "max": round(total["max_ms"], 1),
        },
        "within_half_step_percent": round(100 * total["within_half_step"] / notes, 3),
        "duration_error_ms": round(total["duration_ms"] / kept, 1),
        "exact_percent": round(100 * total["exact"] / notes, 2),
        "tempo_drift_percent": round(100 * total["tempo_drift"] / max(1, total["files"]), 3),
        "same_ids_as_miditok": f"{total['proved'] - total['differs']} of {total['proved']}",
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = (
        "preset", "base", "vocabulary", "tokens a note", "tokens a second", "notes kept %",
        "lost: struck again / off the keys / other", "onset error ms: mean / 95 % / max",
        "within half a step %", "length error ms", "exact %", "tempo drift %",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        lost, onset = row["lost"], row["onset_error_ms"]
        cells = (
            row["preset"], row["time_base"], row["vocabulary"], row["tokens_a_note"],
            row["tokens_a_second"], row["kept_percent"],
            f"{lost['restruck']} / {lost['out_of_range']} / {lost['other']}",
            f"{onset['mean']} / {onset['p95']} / {onset['max']}",
            row["within_half_step_percent"], row["duration_error_ms"], row["exact_percent"],
            row["tempo_drift_percent"],
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _crashed(item: Item) -> str:
    return "crashed the reader"


@click.command()
@click.option("--archive", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .json file.")
@click.option("--every", default=1, show_default=True, help="Read every so-many-th file.")
@click.option("--workers", default=0, show_default=True, help="Processes; 0 takes every core.")
@click.option("--prove", is_flag=True, help="Compare with MidiTok's own ids; slow.")
def main(archive: Path, out: Path, every: int, workers: int, prove: bool) -> None:
    """The table of representations over real music."""
    totals: dict[tuple[str, str], dict[str, Any]] = {}
    rejects: dict[str, int] = {}
    items = ((name, data, prove) for name, data in files_in(archive, every))
    for result in ordered_map(read_one, items, _crashed, workers):
        if isinstance(result, str):
            rejects[result] = rejects.get(result, 0) + 1
            continue
        for key, figures in result.items():
            total = totals.setdefault(key, dict.fromkeys(SUMS, 0) | {"histogram": 0, "max_ms": 0})
            for name in (*SUMS, "histogram"):
                total[name] = total[name] + figures[name]
            total.setdefault("example", figures["example"])
            total["max_ms"] = max(total["max_ms"], figures["max_ms"])
    rows = [summary(total, _representation(*key)) for key, total in totals.items()]
    write_json(out, {"every": every, "rejected": rejects, "rows": rows})
    click.echo(table(rows))
    click.echo(json.dumps({"rejected": rejects}))
    if prove:
        click.echo(
            "\n".join(f"{r['preset']} {r['time_base']}: {r['same_ids_as_miditok']}" for r in rows)
        )


if __name__ == "__main__":
    main()
