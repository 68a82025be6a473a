"""Whether a training run could begin: everything is made as it would be, and nothing is trained.

Job scripts ask before they start the ranks, so that a mistake is told once and not by each of them.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from data_tools.corpus import Corpus
from data_tools.errors import UserError
from gan.adversarial.trainer import Trainer
from gan.data import Batches
from gan.lock import training
from gan.ranks import Ranks
from gan.run import Run
from gan.settings import TrainSettings


def rehearse(corpus: Corpus, out: Path, settings: TrainSettings, resume: bool, ranks: int) -> None:
    """Finds what would keep a run from beginning on so many ranks.

    Args:
        corpus, out, settings, resume: as of `Trainer`; nothing is left in `out`.
        ranks: how many processes there will be.

    Raises:
        UserError: the first mistake found.
    """
    with training(out, looks=True):
        pass
    with TemporaryDirectory() as folder:
        trainer = Trainer(corpus, Path(folder) / "run", settings, quiet=True)
        record = (Path(folder) / "run" / "settings.yaml").read_text(encoding="utf-8")
    Batches(trainer.windows, Ranks(0, ranks), settings.accumulate)
    if settings.adversarial and settings.adv_batch < ranks:
        raise UserError(f"--adv-batch {settings.adv_batch}: fewer rollouts than {ranks} ranks")
    if (out / "settings.yaml").is_file():
        Run(out, settings, resume, yaml.safe_load(record)["inputs"], main=False)
