"""`gan data list` and `gan data fetch`: public datasets. No torch in here."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from data_tools.errors import UserError
from gan import tables

if TYPE_CHECKING:
    from data_tools.datasets.catalog import Dataset

_TIMEOUT, _TRIES = 60.0, 5


def _size(count: int | None) -> str:
    return "not known" if count is None else f"{count / 1e6:,.1f} MB"


@click.command("list", short_help="Public datasets that 'fetch' knows.")
@click.argument("name", required=False)
@click.option("--format", "form", type=tables.FORMATS, default="table", show_default=True)
def list_datasets(name: str | None, form: str) -> None:
    """Public datasets that 'fetch' knows; with NAME, all that is known of one."""
    from data_tools.datasets.catalog import datasets, find

    if name:
        dataset = find(name)
        facts = dataset.model_dump(mode="json", exclude={"midi", "table", "beats", "genres"})
        if form == "table":
            tables.show(
                ({"field": key, "value": _text(value)} for key, value in facts.items()), form
            )
        else:
            tables.show([facts], form)
        return
    tables.show((_row(dataset, form) for dataset in datasets().values()), form)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(inner)}" for key, inner in value.items())
    return "\n".join(map(_text, value)) if isinstance(value, list) else str(value)


def _row(dataset: "Dataset", form: str) -> dict[str, object]:
    known = all(download.checksum for download in dataset.downloads)
    return {
        "name": dataset.name,
        "label": dataset.label,
        "pieces": dataset.pieces,
        "size": _size(dataset.bytes) if form == "table" else dataset.bytes,
        "licence": dataset.licence.id,
        "commercial": dataset.licence.commercial,
        "checksum": "published" if known else "pinned on first download",
        "what": dataset.what,
    }


@click.command(short_help="Download and verify a public dataset.")
@click.argument("name")
@click.option("--out", type=Path, help="Folder for it.  [data/NAME]")
@click.option("--base-url", default="", help="A mirror: files are asked for as BASE_URL/FILE.")
@click.option("--archive", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The archive, downloaded already: verify and unpack it.")  # fmt: skip
@click.option("--keep-archive", is_flag=True, help="Leave the archive in OUT/download.")
@click.option("--pins", type=click.Path(dir_okay=False, path_type=Path),
              help="JSON file of checksums to hold to and to add to.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=_TIMEOUT,
              show_default=True, help="Seconds without a byte before the next try.")  # fmt: skip
@click.option("--tries", type=click.IntRange(1), default=_TRIES, show_default=True,
              help="Tries in a row without progress.")  # fmt: skip
@click.option("--dry-run", "--list-only", "dry", is_flag=True, help="Only say what would be done.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def fetch(
    name: str, out: Path | None, base_url: str, archive: Path | None, keep_archive: bool,
    pins: Path | None, timeout: float, tries: int, dry: bool, quiet: bool,
) -> None:  # fmt: skip
    """Download a public dataset, verify it, and make it ready for 'gan data build'."""
    from data_tools.datasets.catalog import find
    from data_tools.datasets.download import Patience
    from data_tools.datasets.fetch import LOCK
    from data_tools.datasets.fetch import fetch as fetch_dataset

    dataset = find(name)
    out = out or Path("data") / name
    if dry:
        _explain(dataset, out, base_url, archive)
        return
    if not quiet and dataset.licence.commercial != "yes":
        words = {"no": "no commercial use", "unclear": "no licence is stated"}
        click.echo(f"{dataset.licence.id}: {words[dataset.licence.commercial]}", err=True)
    patience = Patience(min(timeout, 15.0), timeout, tries)
    try:
        with Bar(quiet) as bar:
            fetched = fetch_dataset(
                dataset, out, base_url=base_url, archive=archive, keep_archive=keep_archive,
                pins=pins, patience=patience, progress=bar,
            )  # fmt: skip
    except KeyboardInterrupt:
        again = ["gan", "data", "fetch", name, "--out", str(out)]
        again += ["--base-url", base_url] if base_url else []
        again += ["--archive", str(archive)] if archive else []
        again += ["--keep-archive"] if keep_archive else []
        again += ["--pins", str(pins)] if pins else []
        again += ["--timeout", f"{timeout:g}"] if timeout != _TIMEOUT else []
        again += ["--tries", str(tries)] if tries != _TRIES else []
        raise UserError(f"interrupted; go on with: {shlex.join(again)}") from None
    if quiet:
        return
    counts = ", ".join(f"{count:,} {label}" for label, count in sorted(fetched.labels.items()))
    click.echo(f"{out}: {counts}{' (there already)' if fetched.already else ''}")
    if not fetched.already and not all(item.checksum for item in dataset.downloads):
        click.echo(f"  no checksum is published; pinned in {pins or out / LOCK}")
    if fetched.unlisted:
        click.echo(f"  {fetched.unlisted:,} are not in the dataset's own table: no artist known")
    for problem in fetched.problems:
        click.echo(f"  left out: {problem}")
    quoted = shlex.quote(str(out))
    click.echo(f"next: gan data build {quoted} --out {shlex.quote(f'corpora/{name}')}")


def _explain(dataset: "Dataset", out: Path, base_url: str, archive: Path | None) -> None:
    """Says what a fetch would do; touches neither the net nor the disk."""
    from data_tools.datasets.fetch import addresses

    click.echo(f"{dataset.title}: {dataset.pieces:,} pieces, {dataset.label}")
    licence = dataset.licence
    click.echo(f"  licence   {licence.id} ({licence.words}); commercial use: {licence.commercial}")
    for item in dataset.downloads:
        click.echo(f"  file      {item.name}, {_size(item.bytes)}")
        for url in [str(archive)] if archive else addresses(item, base_url):
            click.echo(f"  from      {url}")
        click.echo(f"  checksum  {item.checksum or 'none published; pinned on first download'}")
    click.echo(f"  into      {out}")


class Bar:
    """Progress on standard error: bytes while downloading, files after that."""

    def __init__(self, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.bar: Progress | None = None
        self.what, self.task = "", TaskID(0)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        if what != self.what or self.bar is None:
            self.__exit__()
            columns = (
                (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
                if what == "downloading"
                else (MofNCompleteColumn(),)
            )
            # In a log file a bar is nothing but empty lines.
            self.bar = Progress(
                "{task.description}",
                BarColumn(),
                *columns,
                console=self.console,
                transient=True,
                disable=not self.console.is_terminal,
            )
            self.what, self.task = what, self.bar.add_task(what, total=total)
            self.bar.start()
        self.bar.update(self.task, completed=done, total=total)
