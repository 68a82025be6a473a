"""`gan data`: check files, build a corpus, compose the practice corpus. No torch in here."""

from pathlib import Path
from typing import Any

import click

from data_tools.settings import CorpusSettings
from data_tools.sources import LABELS, MANIFEST, Source
from gan import options, settings
from gan.bars import ProgressBar
from gan.cli_audit import audit
from gan.cli_check import check, misnamed_in
from gan.cli_fetch import fetch, list_datasets

_FEW = 10  # of a label: below, what is measured on a split is mostly chance
_MOST_REASONS = 12  # that are printed; rejects.csv has all


@click.group()
def data() -> None:
    """MIDI files and corpora."""


data.add_command(check)
data.add_command(audit)
data.add_command(list_datasets)
data.add_command(fetch)


@data.command(short_help="Make a corpus of folders, archives or a manifest.csv.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(readable=False, path_type=Path))
@click.option("--out", required=True, type=Path, help="The corpus folder.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes; 0: all cores. Each file's time and memory are bounded.",
)
@click.option(
    "--manifest",
    type=Path,
    help="A corpus's manifest.csv, edited: labels, artists, "
    "splits, a column keep (yes or no). It overrides what the sources say.",
)
@click.option("--force", is_flag=True, help="Replace a corpus of other sources or settings.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@options.options(CorpusSettings)
def build(
    sources: tuple[Path, ...], out: Path, workers: int, manifest: Path | None, force: bool,
    quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Make a corpus of folders, archives or a manifest.csv; verify one that is made.

    files.csv says what became of every file, conflicts.csv which copies have two labels. To change
    labels, artists or splits, edit a copy of the corpus's manifest.csv and give it with the same
    sources as --manifest.
    """
    from data_tools.corpus import build as build_corpus

    given, named = options.given(CorpusSettings, flags), options.names(CorpusSettings)
    chosen = settings.build(CorpusSettings, given, flags=named)
    with ProgressBar("reading", quiet=quiet, slow=1) as bar:
        corpus, built = build_corpus(
            sources, out, chosen, workers, bar.update, manifest, force, bounded=True
        )
    if quiet:
        return
    for place in map(Source, sources):
        if unlisted := place.unlisted():
            click.echo(
                f"note: MIDI files that {place.location / MANIFEST} does not name, and that were "
                f"not read: {len(unlisted):,} ({unlisted[0]} ...)"
            )
        if misnamed := misnamed_in(place):
            click.echo(misnamed)
    counts = corpus.facts["counts"]
    click.echo(f"{out}: {'built' if built else 'nothing has changed; verified'}")
    for name in ("files", "kept", "rejected", "notes", "tokens", "near_duplicate_groups",
                 "label_conflicts"):  # fmt: skip
        where = " (see conflicts.csv)" if name == "label_conflicts" and counts[name] else ""
        click.echo(f"  {name.replace('_', ' ')}: {counts[name]:,}{where}")
        if name == "rejected":
            _echo_reasons(counts["rejected_by_reason"])
    for split, labels in counts["splits"].items():
        parts = ", ".join(f"{number:,} {label}" for label, number in labels.items())
        click.echo(f"  {split}: {parts or 'none'}")
    if missing := [
        one for one in LABELS if not any(one in here for here in counts["splits"].values())
    ]:
        click.echo(
            f"note: no piece is labelled {' or '.join(missing)}. Put files below folders named "
            f"{' and '.join(LABELS)}, or fill in 'label' in a copy of {out / 'manifest.csv'} and "
            "build again with --manifest; 'gan train' without --adv-weight needs no labels, and "
            "a corpus that --also sets beside another may have one alone"
        )
    elif small := [
        f"{split} has {' and '.join(few)}"
        for split, share in (("validation", chosen.validation), ("test", chosen.test))
        if share or counts["splits"][split]  # else nobody wanted one
        if (
            few := [
                f"{number} {one}"
                for one in LABELS
                if (number := counts["splits"][split].get(one, 0)) < _FEW
            ]
        )
    ]:
        click.echo(
            f"note: {', '.join(small)}: what is measured on so few pieces is mostly chance; more "
            "music, or larger shares by --validation and --test, tell more"
        )


def _echo_reasons(reasons: dict[str, int]) -> None:
    for number, (reason, count) in enumerate(reasons.items()):
        if number == _MOST_REASONS:
            click.echo(f"    and {len(reasons) - number:,} other reasons, in rejects.csv")
            return
        click.echo(f"    {count:,} x {reason}")


@data.command(short_help="Compose the practice corpus: half jazz, half not.")
@click.option("--out", required=True, type=Path, help="Folder for the .mid files.")
@click.option("--count", type=click.IntRange(2), default=600, show_default=True, help="Pieces.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Another seed, other music.")  # fmt: skip
@click.option("--ragtime", is_flag=True, help="Rags alone, all of them jazz: a second corpus for "
              "'gan pretrain-disc --also', where the first has none.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def practice(out: Path, count: int, seed: int, ragtime: bool, quiet: bool) -> None:
    """Compose the practice corpus: half jazz, half not, alike in all else; or --ragtime."""
    from data_tools.practice import write_practice

    with ProgressBar("composing", count, quiet=quiet) as bar:
        manifest = write_practice(out, count, seed, bar.update, ragtime)
    if not quiet:
        click.echo(f"{count} pieces: {manifest}")
