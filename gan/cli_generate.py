"""`gan generate`: MIDI from a trained generator."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data_tools.errors import UserError
from gan import tables
from gan.bars import ProgressBar

if TYPE_CHECKING:
    from generator.compose import Composer, Piece, Streamed
    from generator.prompt import Prompt

Option = Callable[[Any], Any]


def _options(*options: Option) -> Option:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _key(context: click.Context, parameter: click.Parameter, key: str | None) -> str | None:
    """A key that there is."""
    if key is not None:
        from generator.hints import scale

        try:
            scale(key)
        except UserError as error:
            raise click.BadParameter(str(error)) from None
    return key


_WHAT = _options(
    click.option("--label", help="A label the generator knows, or none.  [jazz]"),
    click.option("--artist", help="An artist the generator knows."),
    click.option("--key", callback=_key, help="Notes outside it become rarer, not drums: Bb, F#m."),
    click.option(
        "--tempo",
        type=click.FloatRange(20, 400),
        help="Quarters a minute: of a generator on the clock it sets the file's bars and not the "
        "music (else a prompt's, or 125, of performance and raw 250); on the beat it is a hint.",
    ),
    click.option(
        "--length",
        type=click.IntRange(1),
        help="Most tokens added; about four make a note.  [1024, or what --seconds may take]",
    ),
    click.option(
        "--seconds",
        type=click.FloatRange(0, min_open=True),
        help="No note begins later in the file, prompt and whistle included; the last may ring on.",
    ),
    click.option(
        "--min-notes",
        type=click.IntRange(1),
        default=8,
        show_default=True,
        help="The generator may not end a piece of its own accord before it has added so many.",
    ),
    click.option(
        "--end-at-pause",
        is_flag=True,
        help="What would break off ends at the longest pause in the last quarter of its notes.",
    ),
)
_PROMPT = _options(
    click.option("--prompt", type=Path, help="MIDI file to go on from (its last 512 tokens)."),
    click.option(
        "--prompt-bars",
        type=click.FloatRange(0, min_open=True),
        help="Only its first bars, from that of its first note on, rests up to the cut included.",
    ),
    click.option(
        "--prompt-seconds",
        type=click.FloatRange(0, min_open=True),
        help="Only its first seconds, likewise; of both, what is shorter.",
    ),
    click.option("--whistle", is_flag=True, help="A whistle where the prompt ends."),
)
_CHOICE = _options(
    click.option("--greedy", is_flag=True, help="After --opening, the likeliest token; it loops."),
    click.option(
        "--temperature",
        type=click.FloatRange(0),
        default=1.0,
        show_default=True,
        help="Under 1: safer, and sooner in loops; 0: greedy.",
    ),
    click.option(
        "--top-k",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Only so many likeliest tokens; 0: all.",
    ),
    click.option(
        "--top-p",
        type=click.FloatRange(0, 1, min_open=True),
        default=1.0,
        show_default=True,
        help="Under 1: only the likeliest tokens of so much probability (nucleus sampling).",
    ),
    click.option(
        "--min-p",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.0,
        show_default=True,
        help="Only tokens so probable beside the likeliest.",
    ),
    click.option(
        "--steady",
        type=click.FloatRange(1, 10),
        default=1.0,
        show_default=True,
        help="Over 1: a steadier beat, a little busier; of near moments the likelier.",
    ),
    click.option(
        "--repetition",
        type=click.FloatRange(1),
        default=1.0,
        show_default=True,
        help="Over 1: recent pitches are rarer.",
    ),
    click.option(
        "--no-repeat",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="No run of so many tokens, 2 or more, twice; 0: no rule.",
    ),
    click.option(
        "--opening",
        type=click.IntRange(0),
        default=8,
        show_default=True,
        help="So many first tokens are drawn freely: varied beginnings.",
    ),
    click.option(
        "--label-guidance",
        type=click.FloatRange(0),
        default=1.0,
        show_default=True,
        help="Over 1: further towards the label (classifier-free guidance).",
    ),
)
_TASTE = _options(
    click.option(
        "--best-of",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Write so many, keep the one the discriminator likes best.",
    ),
    click.option(
        "--jazz-guidance",
        type=click.FloatRange(0),
        default=0.0,
        show_default=True,
        help="Over 0: the discriminator chooses among 4 continuations every 64 tokens.",
    ),
    click.option("--discriminator", type=Path, help="Whose taste that is.  [the shipped one]"),
)


@click.command(short_help="Write MIDI files with a trained generator.")
@click.option("--run", type=Path, help="A training run: its finished or latest generator.")
@click.option("--checkpoint", type=Path, help="A generator or a run; ce or adv: the shipped ones.")
@click.option("--count", type=click.IntRange(1), help="Pieces.  [4, or 1 where all would be alike]")
@click.option("--out", type=Path, help="Folder for the .mid files; needed but for --stream.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first piece."
)
@_WHAT
@_PROMPT
@_CHOICE
@_TASTE
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Pieces written side by side.",
)
@click.option(
    "--stream",
    is_flag=True,
    help="One piece, its notes as lines of JSON, each when it has ended; a prompt's too, as the "
    "model read them: on its grid.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors (and --stream's notes).")
def generate(
    run: Path | None,
    checkpoint: Path | None,
    count: int | None,
    out: Path | None,
    force: bool,
    seed: int,
    best_of: int,
    jazz_guidance: float,
    discriminator: Path | None,
    greedy: bool,
    label_guidance: float,
    stream: bool,
    device: str,
    quiet: bool,
    **choices: Any,
) -> None:
    """Write MIDI files with a trained generator (the shipped one by default)."""
    if run and checkpoint:
        raise click.UsageError("give --run or --checkpoint, not both")
    if out is None and not stream:
        raise click.UsageError("give --out, a folder for the .mid files (or --stream)")
    given = click.get_current_context().get_parameter_source
    for name in ("prompt_bars", "prompt_seconds", "whistle"):
        asked = choices[name] is not None and choices[name] is not False
        if asked and choices["prompt"] is None:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} is of a --prompt, and none is given")
    for name in ("temperature", "top_k", "top_p", "min_p", "steady") if greedy else ():
        # The opening is drawn from all tokens, and after it the likeliest is always among those.
        if given(name) == click.core.ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise click.UsageError(f"give --greedy or --{option}, not both")
    if choices["no_repeat"] == 1:
        raise click.UsageError("--no-repeat 1 allows no token twice; give 2 or more, or 0: no rule")
    certain = (greedy or choices["temperature"] == 0) and not choices["opening"]
    if certain and max(count or 1, best_of) > 1:
        raise click.UsageError(
            "without --opening the likeliest tokens make one piece; leave --count and --best-of out"
        )
    usual = 1 if certain else 4
    if discriminator and best_of == 1 and not jazz_guidance:
        raise click.UsageError("--discriminator is for --best-of and --jazz-guidance")
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file; give a folder for the .mid files as --out")
    from data_tools import midi
    from gan.engine import engine
    from gan.run import generator_of
    from generator.compose import Composer, empty
    from generator.degenerate import COUNTS, signs
    from generator.prompt import read_prompt
    from generator.request import FEWEST_NOTES, length_of

    # What a glance refuses, before a model is loaded for it.
    if stream:
        more = best_of > 1 or jazz_guidance > 0 or out is not None or force or (count or 1) > 1
        more |= given("batch") == click.core.ParameterSource.COMMANDLINE
        if more or choices["whistle"] or choices["end_at_pause"]:
            raise click.UsageError(
                "--stream writes one piece's notes and nothing else; leave out --out, --force, "
                "--count, --batch, --best-of, --jazz-guidance, --whistle and --end-at-pause"
            )
    if choices["prompt"] is not None:
        midi.read(choices["prompt"])
    if not (force or stream or out is None):
        _refuse_taken(out, count or usual, seed, best_of)
    named = run or checkpoint
    composer = Composer.load(generator_of(named) if named else None, engine(device).device)
    choices["guidance"] = label_guidance
    choices["told"] = _told(named, jazz_guidance, best_of, discriminator)
    if greedy:
        choices["temperature"] = 0.0
    if choices["prompt"] is not None:
        cut = {name: choices[f"prompt_{name}"] for name in ("bars", "seconds")}
        choices["prompt"] = read_prompt(composer.representation, choices["prompt"], **cut)
    if stream:
        _stream(composer, seed, quiet, choices)
        return
    assert out is not None
    count = count or usual
    length = length_of(choices["length"], choices["seconds"])
    pieces = _pieces(composer, count, seed, best_of, jazz_guidance, discriminator, choices)
    _report_left_out(choices["prompt"], quiet)
    rows: list[dict[str, object]] = []
    written: list[Any] = []
    failed: list[int] = []
    try:
        with ProgressBar("writing", count, quiet=quiet) as bar:
            for number, piece in enumerate(pieces):
                bar.update(_sampled(number + 1, count, best_of, choices["batch"]))
                if piece is None:
                    failed.append(seed + number * best_of)
                    continue
                path = out / _name(number, piece.seed)
                if path.exists() and not force:  # nor was it when this began
                    raise UserError(f"{path}: another process has written it meanwhile")
                piece.save(path)
                values: dict[str, object] = {
                    name: int(value) if name in COUNTS else round(value, 3)
                    for name, value in piece.statistics.items()
                }
                rows.append({"path": str(path)} | values | {"degenerate": signs(piece.statistics)})
                written.append(piece)
    except KeyboardInterrupt:
        if written and not quiet:  # what is there all the same
            tables.show(rows, "table")
        done = len(written) + len(failed)
        raise KeyboardInterrupt(
            f"{done:,} of {count:,} are done; --seed {seed + done * best_of} --count "
            f"{count - done} writes the others"
        ) from None
    if written and not quiet:
        tables.show(rows, "table")
        _report(written)
        # One that has ended by itself, or at its seconds, has fewer.
        short = sum(len(piece.ids) - piece.prompt >= length for piece in written)
        _report_short(short, len(written), choices)
        least = choices["min_notes"]
        added = (p.statistics.get("generated", p.statistics["notes"]) for p in written)
        if (few := sum(count < least for count in added)) and least > FEWEST_NOTES:
            ended = f"note: {few} of {len(written)} end before {least:,} notes"
            click.echo(f"{ended}, with their tokens or seconds", err=True)
    if failed:
        raise empty(failed, length)


def _told(named: Path | None, guidance: float, tries: int, discriminator: Path | None) -> str:
    """What the composer does not know itself of how a piece is made."""
    place = named and named.resolve()
    if place and place.name == "generator":  # a run keeps its own under that name
        place = place.parent
    parts = [f"generator {place.name if place else 'shipped'}"]
    parts += [f"best of {tries}"] if tries > 1 else []
    parts += [f"jazz-guidance {guidance:g}"] if guidance else []
    parts += [f"discriminator {discriminator.resolve().name}"] if discriminator else []
    return ", ".join(parts)


def _sampled(given: int, count: int, tries: int, batch: int) -> int:
    """How many pieces are done when so many are given: a batch's are all done with its first."""
    tried = -(-given * tries // batch) * batch
    return min(count, max(given, tried // tries))


def _name(number: int, seed: int) -> str:
    return f"{number:03d}-seed{seed}.mid"


def _refuse_taken(out: Path, count: int, seed: int, tries: int) -> None:
    """Refuses to write over a file: under each name a piece may get, whichever seed it takes.

    Raises:
        UserError: one is there.
    """
    from generator.compose import ATTEMPTS, seed_of

    for number in range(count):
        for one in range(number * tries, (number + 1) * tries):
            for attempt in range(ATTEMPTS):
                path = out / _name(number, seed_of(seed + one, attempt))
                if path.exists():
                    raise UserError(f"{path}: there already; give another --out, or --force")


def _pieces(
    composer: "Composer",
    count: int,
    seed: int,
    tries: int,
    weight: float,
    discriminator: Path | None,
    choices: dict[str, Any],
) -> "Iterator[Piece | None]":
    """The pieces as they come, with the discriminator's taste where it is asked for."""
    if tries == 1 and not weight:
        return composer.each(count, seed, **choices)
    from gan import selection

    classifier = selection.taste(discriminator, composer)
    if weight and composer.representation.plain is not composer.representation:
        raise UserError("--jazz-guidance: this generator writes merged tokens; take --best-of")
    if weight:
        choices["steering"] = selection.steering(classifier, weight)
    if tries == 1:
        return composer.each(count, seed, **choices)
    return selection.best_of(composer, classifier, tries, count, seed, **choices)


def _report_left_out(prompt: "Prompt | None", quiet: bool) -> None:
    """What of the prompt is not used."""
    if prompt is None or quiet:
        return
    for what in prompt.left_out:
        click.echo(f"note: {prompt.name}: {what}", err=True)


def _stream(composer: "Composer", seed: int, quiet: bool, choices: dict[str, Any]) -> None:
    """Notes to standard output, a line each."""
    others = ("batch", "whistle", "end_at_pause")
    asked = {name: value for name, value in choices.items() if name not in others}
    streamed = composer.stream(seed, **asked)
    _report_left_out(choices["prompt"], quiet)
    silent, cut = True, False

    def notes() -> "Iterator[Streamed]":
        nonlocal cut
        cut = yield from streamed

    for onset, length, pitch, velocity in notes():
        silent = False
        note = {"time": round(onset, 4), "length": round(length, 4)}
        click.echo(json.dumps(note | {"pitch": pitch, "velocity": velocity}))
    if silent and not quiet:
        click.echo(f"note: the piece of seed {seed} has no note", err=True)
    if cut and not quiet:
        _report_short(1, 1, choices)


def _report(pieces: "list[Piece]") -> None:
    """How many came out degenerate, and in what way."""
    from generator.degenerate import signs

    found = [signs(piece.statistics) for piece in pieces]
    counts = Counter(sign for each in found for sign in each)
    detail = f" ({', '.join(f'{name} {n}' for name, n in counts.items())})" if counts else ""
    click.echo(f"{sum(map(bool, found))} of {len(pieces)} degenerate{detail}", err=True)


def _report_short(short: int, count: int, choices: dict[str, Any]) -> None:
    """That so many pieces of a count end for want of tokens: before their seconds, or mid-music."""
    from generator.request import length_of

    seconds = choices["seconds"]
    if not short or not (seconds or choices["length"] is None):  # who names tokens gets them
        return
    length = length_of(choices["length"], seconds)
    where = f"end before {seconds:g} seconds" if seconds else "break off before an end of their own"
    way = "" if seconds or choices["end_at_pause"] else ", or --end-at-pause"
    click.echo(
        f"note: {short} of {count} {where}, with their {length:,} tokens; give a larger --length"
        + way,
        err=True,
    )
