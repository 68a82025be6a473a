"""What is looked at while a generator trains: held-out bits a note, and pieces it writes.

The same windows and the same sampling seeds every time, so that two moments can be compared.
"""

from pathlib import Path

import miditoolkit
import numpy as np
import torch
from torch import Tensor

from data_tools.corpus import Corpus
from data_tools.errors import MidiError, UserError
from gan.adversarial.critic import StyleCritic
from gan.data import validation_windows
from gan.engine import Engine
from gan.evaluation.clips import RATE, Clips, picture
from gan.evaluation.inside import attention_entropy, gradient_norms
from gan.evaluation.language import by_label, by_type, summary, token_bits
from gan.logbook import Logbook
from gan.ranks import ALONE, Ranks
from gan.settings import TrainSettings
from generator.compose import Composer

SAMPLE_SEED = 1000
DRAWN, HEARD = 4, 2  # of the samples, in TensorBoard; all are in the run's folder


class Progress:
    """Validation and samples of a run.

    Args:
        corpus: its validation split is read (its test split never).
        composer: the generator being trained.
        critic: scores the samples where there is one.
        compute: device and precision.
        settings: how much to read and to sample.
        out: the run's folder; samples go to `samples/step-N/`.
        ranks: they share the reading; the first one samples.
    """

    def __init__(
        self,
        corpus: Corpus,
        composer: Composer,
        critic: StyleCritic | None,
        compute: Engine,
        settings: TrainSettings,
        out: Path,
        ranks: Ranks = ALONE,
    ) -> None:
        self.composer, self.critic, self.compute = composer, critic, compute
        self.settings, self.out, self.ranks = settings, out, ranks
        self._clips = Clips()
        self.latest: dict[str, float] = {}  # all that the last report measured
        numbers = corpus.select("validation", exclude_sources=settings.exclude_sources)
        if not numbers:
            raise UserError(f"{corpus.folder}: no pieces in validation; build with --validation")
        # As many of those it learns from, as they are: the gap between the two is overfitting.
        train = corpus.select("train", exclude_sources=settings.exclude_sources)
        self._known = validation_windows(
            corpus, train, composer.representation, settings.length, settings.validation_windows
        )
        self._windows = []
        for label in sorted({corpus.rows[number]["label"] for number in numbers}):
            mine = [number for number in numbers if corpus.rows[number]["label"] == label]
            share = round(settings.validation_windows * len(mine) / len(numbers))
            pair = validation_windows(
                corpus, mine, composer.representation, settings.length, max(1, share)
            )
            self._windows.append((label, *pair))

    def report(self, step: int, log: Logbook) -> dict[str, float]:
        """Validates, samples and logs; returns validation figures, `bits_per_note` among them."""
        representation = self.composer.representation
        inputs = torch.cat([pair[1] for pair in self._windows])
        targets = torch.cat([pair[2] for pair in self._windows])
        labels = [label for label, rows, _ in self._windows for _ in range(len(rows))]
        bits, hits = self._read(inputs, targets)
        result = by_label(bits, hits, targets.numpy(), labels, representation)
        metrics = {f"validation/{name}": value for name, value in result.items()}
        kinds = by_type(bits, hits, targets.numpy(), representation)
        metrics |= {f"validation_{name}": value for name, value in kinds.items()}
        known = summary(*self._read(*self._known), self._known[1].numpy(), representation)
        metrics |= {f"train/{name}": value for name, value in known.items()}
        metrics |= {
            "gap/token_accuracy": known["token_accuracy"] - result["token_accuracy"],
            "gap/bits_per_note": result["bits_per_note"] - known["bits_per_note"],
        }
        if self.ranks.main:
            self._look_inside(inputs, targets, step, log)
            if self.settings.samples:
                metrics |= self._sample(step, log)
        log.log(step, metrics, show=True)
        self.latest = metrics
        return result

    def _look_inside(self, inputs: Tensor, targets: Tensor, step: int, log: Logbook) -> None:
        """Histograms of gradients and of attention."""
        model, compute = self.composer.model, self.compute
        for group, norms in gradient_norms(model, inputs, targets, compute).items():
            log.histogram(f"gradient_norms/{group}", norms, step)
        for layer, entropy in attention_entropy(model, inputs, compute).items():
            log.histogram(f"attention_entropy/{layer}", entropy, step)

    def _read(self, inputs: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Bits and hits of all windows (N, T), each rank having read its share."""
        mine = list(self.ranks.share(len(inputs)))
        own = token_bits(self.composer.model, inputs[mine], targets[mine], self.compute)
        shares = self.ranks.gather(own)
        bits = np.zeros(targets.shape)
        hits = np.zeros(targets.shape, dtype=bool)
        for rank, share in enumerate(shares):
            bits[rank :: self.ranks.world], hits[rank :: self.ranks.world] = share
        return bits, hits

    def _sample(self, step: int, log: Logbook) -> dict[str, float]:
        settings = self.settings
        try:
            pieces = self.composer.compose(
                settings.samples, SAMPLE_SEED, length=settings.sample_length, min_notes=8
            )
        except UserError as error:
            # A generator gone silent is a result to be seen, not the end of a long run.
            log.say(f"step {step}: no samples: {error}")
            return {"samples/notes": 0.0}
        for number, piece in enumerate(pieces):
            piece.save(self.out / "samples" / f"step-{step:06d}" / f"{number:02d}.mid")
            try:
                if number < DRAWN:
                    title = f"step {step:,}, seed {piece.seed}"
                    log.image(f"roll/{number}", *picture(piece.midi, title), step)
                if number < HEARD and (sound := self._clips.clip(piece.midi, log.say)) is not None:
                    log.audio(f"sound/{number}", sound, RATE, step)
            except MidiError as error:  # nothing but drums, say
                log.say(f"step {step}: sample {number}: {error.reason}")
        names = pieces[0].statistics
        means = {
            name: float(np.mean([piece.statistics[name] for piece in pieces])) for name in names
        }
        metrics = {f"samples/{name}": value for name, value in means.items()}
        metrics |= self._token_statistics([piece.ids for piece in pieces])
        metrics |= bar_statistics([piece.midi for piece in pieces])
        if self.critic:
            metrics["samples/p_jazz"] = float(np.mean(self.p_jazz([p.ids for p in pieces])))
        rows = "\n".join(f"| {name} | {value:.3g} |" for name, value in metrics.items())
        log.text("samples", f"| statistic | mean |\n|---|---|\n{rows}", step)
        return metrics

    def _token_statistics(self, sequences: list[np.ndarray]) -> dict[str, float]:
        """Length, variety and share of each token type."""
        representation = self.composer.representation
        tokens = np.concatenate(sequences)
        kinds = representation.token_types[tokens]
        counts = np.bincount(tokens, minlength=representation.vocab_size)
        p = counts[counts > 0] / counts.sum()
        metrics = {
            "tokens/length": float(np.mean([len(ids) for ids in sequences])),
            "tokens/entropy_bits": float(-(p * np.log2(p)).sum()),
        }
        names = {name.split("_")[0]: kind for name, kind in
                 zip(representation.names, representation.token_types, strict=True)}  # fmt: skip
        for name, kind in names.items():
            if kind in kinds:
                metrics[f"tokens/share_{name}"] = float(np.mean(kinds == kind))
        return metrics

    @torch.no_grad()
    def p_jazz(self, sequences: list[np.ndarray]) -> list[float]:
        """The critic's calibrated p(jazz) of each piece's music tokens."""
        assert self.critic is not None
        found = []
        for ids in sequences:
            music = torch.from_numpy(ids[(ids > 2) & (ids < self.critic.size)].astype(np.int64))
            logits = self.critic.model(music[None].to(self.compute.device)).float()
            found.append(float(self.critic.probability(logits)))
        return found


def bar_statistics(pieces: list[miditoolkit.MidiFile]) -> dict[str, float]:
    """Means over bars of four beats of the decoded grid (one to two seconds on a clock).

    Returns:
        bars/notes and bars/pitch_classes a bar, bars/empty and bars/repeated (same pitches at the
        same places as an earlier bar of the piece) as shares.
    """
    notes, classes, empty, repeated = [], [], [], []
    for piece in pieces:
        length = 4 * piece.ticks_per_beat
        found = [note for instrument in piece.instruments for note in instrument.notes]
        bars: list[list[tuple[int, int]]] = [
            [] for _ in range(max((note.start for note in found), default=0) // length + 1)
        ]
        for note in found:
            bars[note.start // length].append((note.start % length, note.pitch))
        seen: set[tuple[tuple[int, int], ...]] = set()
        for bar in bars:
            content = tuple(sorted(bar))
            notes.append(len(bar))
            classes.append(len({pitch % 12 for _, pitch in bar}))
            empty.append(not bar)
            repeated.append(bool(bar) and content in seen)
            seen.add(content)
    return {
        "bars/notes": float(np.mean(notes)),
        "bars/pitch_classes": float(np.mean(classes)),
        "bars/empty": float(np.mean(empty)),
        "bars/repeated": float(np.mean(repeated)),
    }
