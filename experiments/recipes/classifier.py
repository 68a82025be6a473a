"""The shipped classifier: networks and trees, joined, calibrated on left-out sources, reported.

    gan data practice --ragtime --count 256 --out rags
    gan data build rags --out RAGS
    python -m experiments.recipes.classifier --corpus CORPUS --also RAGS --work runs/classifier \\
        --transfer experiments/results/transfer.json --out discriminator/pretrained

Trains the presets disc-statistics, disc-deep and disc-cnn and boosted trees on the corpus's
training split and the composed rags, and the gate that tells music from noise on the split alone
(about half an hour on one core; what is finished is not done again), joins them, takes p(jazz) and
the unsure range from the transfer table, and opens the test split: works and artists never trained
on, of sources that were. The report goes to --report, as JSON and as markdown.
"""

from pathlib import Path

import click
import numpy as np

from data_tools.corpus import Corpus, Enlarged
from data_tools.files import write_json, write_text
from discriminator.classifier import Classifier
from discriminator.feature_judge import CARD
from discriminator.metrics import report
from experiments.recipes.gate import SETTINGS, trained
from experiments.recipes.trees import fitted
from gan.cli_ensemble import ensemble
from gan.plain import PlainCommand
from gan.pretrain import pretrain
from gan.settings import PretrainSettings, build, read_preset

MEMBERS = ("disc-statistics", "disc-deep", "disc-cnn")
GATE, TREES = "gate", "trees"
# Of a piece: short windows spread over it beat as much in long ones. Areas on the validation split:
# four 0.9885, six 0.9896, eight 0.9906, all of them 0.9899; six of 2,048 tokens 0.9883. Those are
# equal within their intervals, and six take half as long again as four.
WINDOW, MOST = 768, 4


@click.command(cls=PlainCommand)
@click.option("--corpus", "folder", required=True, type=Path, help="From 'gan data build'.")
@click.option("--also", type=click.Path(exists=True, path_type=Path),
              help="A second corpus, which the members are trained on too.")  # fmt: skip
@click.option("--work", type=Path, default=Path("runs/classifier"), show_default=True,
              help="Where the members are trained.")  # fmt: skip
@click.option("--transfer", type=Path, help="The transfer table's JSON, for the calibration.")
@click.option("--out", required=True, type=Path, help="The classifier's folder.")
@click.option("--report", "reported", type=Path, help="JSON of the test split's figures.")
@click.option("--report-only", is_flag=True, help="Train nothing: report on what is in --out.")
@click.option("--member", "only", type=click.Choice(MEMBERS), help="Train this one and stop.")
def main(
    folder: Path, also: Path | None, work: Path, transfer: Path | None, out: Path,
    reported: Path | None, report_only: bool, only: str | None,
) -> None:  # fmt: skip
    """Train, join, calibrate, report."""
    corpus = Corpus(folder)
    if not report_only:
        _train(Enlarged(folder, also) if also else corpus, work, transfer, out, only)
    if not only:
        _report(corpus, Classifier.load(out), reported)


def _train(corpus: Corpus, work: Path, transfer: Path | None, out: Path, only: str | None) -> None:
    for name in (only,) if only else MEMBERS:
        # What is finished is not done again; of another corpus or preset it is refused.
        settings = build(PretrainSettings, read_preset(name))
        pretrain(corpus, work / name, settings, resume=(work / name).is_dir())
    if only:
        return
    if not (work / GATE / "report.json").is_file():
        settings = build(PretrainSettings, SETTINGS)
        trained(corpus.folder, work / GATE, settings, resume=(work / GATE).is_dir())
    if not (work / TREES / CARD).is_file():
        fitted(corpus, 0).save(work / TREES)
    runs = [str(work / name) for name in MEMBERS]
    extra = ["--gate", str(work / GATE), "--trees", str(work / TREES)]
    extra += ["--calibration", str(transfer)] if transfer else []
    shape = ["--window", str(WINDOW), "--most", str(MOST), "--half"]
    ensemble.main([*runs, "--out", str(out), "--force", *shape, *extra], standalone_mode=False)


def _report(corpus: Corpus, classifier: Classifier, reported: Path | None) -> None:
    """The test split's figures."""
    numbers = [n for n in corpus.select("test") if corpus.rows[n]["label"] in ("jazz", "not_jazz")]
    logits = classifier.logits(corpus.piece(number) for number in numbers)
    long = np.isfinite(logits)
    p = np.array([classifier.probability(float(logit)) for logit in logits[long]])
    kept = [number for number, keep in zip(numbers, long, strict=True) if keep]
    labels = [corpus.rows[number]["label"] == "jazz" for number in kept]
    result = report(
        np.array(labels, dtype=np.int64), p, [corpus.rows[number]["source"] for number in kept]
    )
    click.echo(result.table())
    if reported:
        write_json(reported, result.as_dict())
        write_text(reported.with_suffix(".md"), result.table())


if __name__ == "__main__":
    main()
