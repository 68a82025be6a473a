"""`gan ray-score`: scores for more files than one machine reads in a day. No torch in here."""

from pathlib import Path

import click

from data_tools.errors import UserError
from gan.bars import ProgressBar
from gan.cli_score import BEYOND


@click.command("ray-score", short_help="Score collections of any size, also on a Ray cluster.")
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, readable=False, path_type=Path)
)
@click.option("--out", required=True, type=Path, help="The run's folder: scores/ and errors/.")
@click.option("--model", type=Path, help="A classifier's folder or pretrain-disc run.")
@click.option(
    "--address",
    help="A running Ray cluster: auto on one of its nodes, or HOST:PORT.  [$RAY_ADDRESS, else "
    "one is started on this machine]",
)
@click.option(
    "--format", "form", type=click.Choice(["parquet", "csv", "jsonl"]), default="parquet",
    show_default=True,
)  # fmt: skip
@click.option(
    "--part-size", type=click.IntRange(1), default=1000, show_default=True, help="Files of a part."
)
@click.option("--readers", type=click.IntRange(0), default=0, help="Reading tasks.  [by cores]")
@click.option("--scorers", type=click.IntRange(0), default=0, help="Models.  [by cores or GPUs]")
@click.option(
    "--gpu-share",
    type=click.FloatRange(0, 1),
    help="Of a GPU for a model; 0: CPUs only.  [1 where there are GPUs]",
)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True,
              help="Windows per forward pass.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def ray_score(
    paths: tuple[Path, ...], out: Path, model: Path | None, address: str | None, form: str,
    part_size: int, readers: int, scorers: int, gpu_share: float | None, batch_size: int,
    quiet: bool,
) -> None:  # fmt: skip
    """Score collections of any size on a Ray cluster or this machine; go on where it stopped.

    Files, folders, .zip and .tar archives, a manifest.csv, or a .txt with one of these a line.
    Finished parts are kept: the same command again does what is missing. Exit code 1: an archive is
    damaged, or the work failed.
    """
    from discriminator.cluster import score_cluster
    from gan.run import classifier_folder

    with ProgressBar("parts", quiet=quiet) as bar:
        summary = score_cluster(
            paths, out, classifier_folder(model) if model else None, address,
            part_size=part_size, form=form, readers=readers, scorers=scorers,
            gpu_share=gpu_share, batch_size=batch_size,
            progress=bar.update,
        )  # fmt: skip
    if not quiet:
        click.echo(
            f"{out}: {summary.scored:,} scored, {summary.failed:,} set aside in errors/; "
            f"{summary.parts:,} parts written, {summary.kept:,} there before"
        )
    if summary.damaged:
        raise UserError(BEYOND)
