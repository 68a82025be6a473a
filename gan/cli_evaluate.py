"""`gan evaluate` and `gan compare`: music against real jazz, in numbers and on a page that plays.

Torch is imported inside the commands.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from data_tools.errors import UserError

Command = Callable[..., Any]
SWEEP: tuple[dict[str, float], ...] = (
    {"temperature": 0.7}, {"temperature": 0.8}, {"temperature": 0.9}, {"temperature": 1.0},
    {"temperature": 1.1}, {"temperature": 1.0, "top_p": 0.9}, {"temperature": 1.0, "top_p": 0.95},
)  # fmt: skip


def _shared(command: Command) -> Command:
    for option in reversed(
        [
            click.option("--real", required=True, type=click.Path(exists=True, path_type=Path),
                         help="Real jazz: a corpus (its test split), or a folder of MIDI; what its "
                              "folders or manifest.csv call not_jazz is left out."),
            click.option("--split", default="test", show_default=True, help="Of that corpus."),
            click.option("--exclude-sources", multiple=True, help="Sources of it left out."),
            click.option("--train", type=click.Path(exists=True, path_type=Path),
                         help="The corpus they were trained on, to see what is copied."),
            click.option("--judges", type=click.Path(exists=True, path_type=Path),
                         help="A folder of judges.  [the shipped ones]"),
            click.option("--no-judges", is_flag=True, help="Go without."),
            click.option("--count", default=64, show_default=True, type=click.IntRange(2),
                         help="Pieces a system."),
            click.option("--length", default=512, show_default=True, type=click.IntRange(64),
                         help="Tokens a piece."),
            click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**62)),
            click.option("--temperature", default=1.0, show_default=True,
                         type=click.FloatRange(0, 10)),
            click.option("--top-p", default=1.0, show_default=True,
                         type=click.FloatRange(0, 1, min_open=True)),
            click.option("--steady", default=1.0, show_default=True, type=click.FloatRange(1, 10),
                         help="Over 1: a steadier beat, see 'gan generate'."),
            click.option("--frontier", is_flag=True, help="Also sweep temperature and top-p."),
            click.option("--shown", default=8, show_default=True, type=click.IntRange(0),
                         help="Samples on the page."),
            click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path),
                         help="Folder for what was found."),
            click.option("--device", default="auto", show_default=True),
            click.option("--quiet", is_flag=True, help="Print nothing but errors."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(short_help="How near a generator comes to real jazz.")
@click.argument("system")
@_shared
def evaluate(system: str, **choices: Any) -> None:
    """How near a generator, or a folder of MIDI, comes to real jazz.

    SYSTEM is a run, a generator's folder, 'shipped', 'ce' or 'adv', or a folder of MIDI files;
    NAME=SYSTEM gives it a name. Writes evaluation.json, table.md, report.html and the samples.
    """
    _run([system], (), **choices)


@click.command()
@click.argument("systems", nargs=-1, required=True)
@click.option("--ratings", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="What listeners exported from the page: adds win rates.")  # fmt: skip
@_shared
def compare(systems: tuple[str, ...], ratings: tuple[Path, ...], **choices: Any) -> None:
    """Several systems side by side, each also against the first.

    SYSTEMS as for 'gan evaluate': A=runs/lstm B=runs/transformer C=runs/adversarial. The page
    can be listened to blind; '--ratings' takes back what was chosen.
    """
    if len(systems) < 2:
        raise click.UsageError("give at least two systems, or use 'gan evaluate'")
    _run(list(systems), ratings, **choices)


def _run(
    words: list[str], ratings: tuple[Path, ...], real: Path, split: str,
    exclude_sources: tuple[str, ...], train: Path | None, judges: Path | None, no_judges: bool,
    count: int, length: int, seed: int, temperature: float, top_p: float, steady: float,
    frontier: bool, shown: int, out: Path, device: str, quiet: bool,
) -> None:  # fmt: skip
    if judges and no_judges:
        raise click.UsageError("give --judges or --no-judges, not both")
    if not (real / "corpus.json").is_file():
        said = click.get_current_context().get_parameter_source("split")
        if said == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--split is of a corpus, and --real is none")
        if exclude_sources and not train:
            raise click.UsageError("--exclude-sources is of a corpus, and none is given")
    import numpy as np

    from data_tools import midi
    from data_tools.corpus import Corpus
    from data_tools.files import sole_writer, write_json, write_text
    from gan.engine import engine
    from gan.evaluation import comparison, narration, paging, systems
    from gan.evaluation.judging import SHIPPED, Judges
    from gan.evaluation.report import REAL, read_ratings, write_report
    from gan.evaluation.report.ratings import ratings_table
    from gan.evaluation.samples import refuse_taken, write_samples

    def say(text: str) -> None:
        if not quiet:
            click.echo(text)

    # What is quickly refused comes first: sampling may take an hour.
    wanted = systems.named(words)
    refuse_taken(out)
    click.get_current_context().with_resource(sole_writer(out.absolute()))
    rates = read_ratings(*ratings) if ratings else []
    compute = engine(device, "fp32")
    panel = None
    if judges is None and not SHIPPED.is_dir() and not no_judges:
        click.echo(f"no judges in {SHIPPED}: going without; --judges names others", err=True)
    elif not no_judges:
        panel = Judges.load(judges)
    real_jazz, representation, corpus = systems.real_music(
        real, split, exclude_sources, length, max(count, 64)
    )
    pieces = real_jazz.pieces
    sources = [
        systems.opened(name, where, representation, str(compute.device)) for name, where in wanted
    ]
    for path, reason in real_jazz.refused:
        click.echo(f"left out {path}: {reason}", err=True)
    aside = f", without {real_jazz.other:,} labelled not_jazz" if real_jazz.other else ""
    say(f"real jazz: {len(pieces):,} pieces of {real}{aside}")
    if frontier:
        for name in (source.name for source in sources if source.composer is None):
            click.echo(f"{name} is files: it has no settings to sweep for --frontier", err=True)
    sampled = {"temperature": temperature, "top_p": top_p, "steady": steady}
    known = None
    if train:
        learnt = Corpus(train)
        learnt.verify()
        if learnt.representation.music_digest != representation.music_digest:
            raise UserError(f"{train}: other tokens than {real}; build both alike")
        numbers = learnt.select("train", exclude_sources=exclude_sources)
        known = [np.asarray(learnt.piece(number)) for number in numbers]
    reference = comparison.Reference(pieces, representation, panel, known)
    truth = reference.judged(REAL, pieces)
    found, measured = [], []
    for source in sources:
        system = systems.written(
            source, representation, count, length, seed, SWEEP if frontier else (),
            **sampled, opening=8,
        )  # fmt: skip
        for path, reason in system.refused:
            click.echo(f"left out {path}: {reason}", err=True)
        found.append(system)
        of = f" of an unfinished run, {system.unfinished}" if system.unfinished else ""
        say(f"{source.name}: {len(system.pieces)} pieces{of}")
    reference.prepare(found)
    sweeps: dict[str, dict[str, comparison.Measured]] = {}
    for system in found:
        result = reference.measured(system)
        if corpus is not None:
            bits = comparison.bits_of(system, corpus, exclude_sources, compute)
            if bits is not None:
                result.bits = bits
                result.figures[comparison.BITS] = comparison.per_note(bits)
        for key in narration.MEASURES:
            if f"{key}_real" in result.figures:
                truth.figures.setdefault(key, result.figures[f"{key}_real"])
        sweeps[system.name] = {
            setting: reference.judged(system.name, music) for setting, music in system.sweep.items()
        }
        measured.append(result)
        if "frechet" not in result.figures:
            say(
                f"{system.name}: too few pieces for distances and novelty: {len(system.pieces)}, "
                f"and {len(pieces)} of real jazz; {comparison.FEWEST} of each needed"
            )
    comparison.beside_first(measured)
    extra = narration.differences(measured) + ([ratings_table(rates)] if rates else [])
    note = f"real jazz: {len(pieces)} pieces of {real}; seed {seed}; {length} tokens a piece"
    turned = {name.replace("_", "-"): value for name, value in sampled.items() if value != 1}
    note += "".join(f"; {name} {value:g}" for name, value in turned.items())
    content = paging.report(
        "Evaluation" if len(words) == 1 else "Comparison", found, measured, truth, pieces,
        representation, sweeps, shown, extra, note,
    )  # fmt: skip
    music = {
        system.name: [
            midi.to_bytes(representation.decode(ids), system.name) for ids in system.pieces
        ]
        for system in found
    }
    summary = narration.table(measured, truth)
    figures = {
        "settings": {
            "real": str(real),
            "split": split,
            "exclude_sources": exclude_sources,
            "train": str(train) if train else None,
            "count": count,
            "length": length,
            "seed": seed,
        }
        | sampled,
        "verdict": content.verdict,
        "real": _numbers(truth),
        "systems": [_numbers(each) for each in measured],
        "frontier": {
            name: {setting: _numbers(each) for setting, each in sweep.items()}
            for name, sweep in sweeps.items()
        },
        "ratings": [asdict(rate) for rate in rates],
    }
    write_samples(out / "samples", music)
    write_report(content, out / "report.html")
    write_text(out / "table.md", f"{content.verdict}\n\n{summary}{narration.markdown(extra)}")
    write_json(out / "evaluation.json", figures)
    say(f"\n{content.verdict}\n\n{summary}\n{out / 'report.html'}")


def _numbers(measured: Any) -> dict[str, Any]:
    """For JSON, which knows no NaN."""
    from math import isfinite

    def told(figure: Any) -> dict[str, float | None]:
        return {
            name: round(value, 5) if isfinite(value) else None
            for name, value in (("value", figure.value), ("low", figure.low), ("high", figure.high))
        }

    return {
        "name": measured.name,
        "figures": {name: told(figure) for name, figure in measured.figures.items()},
        "beside_first": {name: told(figure) for name, figure in measured.beside.items()},
        "p_jazz": {judge: p.round(4).tolist() for judge, p in measured.p_jazz.items()},
    }
