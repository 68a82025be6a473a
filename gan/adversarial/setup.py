"""What a training run begins with: its generator, and choices that would fail hours later."""

from pathlib import Path

import torch

from data_tools.bytepair import merged_from
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import Representation
from gan.data import conditions_of
from gan.engine import derived_seed
from gan.run import generator_folder
from gan.settings import TrainSettings
from generator.compose import Composer
from generator.model import GeneratorModel, build


def first_generator(
    corpus: Corpus, settings: TrainSettings, device: torch.device
) -> tuple[GeneratorModel, Representation]:
    """A fresh generator for the corpus, or the one that `settings.init` names.

    Raises:
        UserError: that one writes other tokens.
    """
    if settings.init:
        composer = Composer.load(generator_folder(Path(settings.init)), device)
        if composer.representation.music_digest != corpus.representation.music_digest:
            raise UserError(
                f"{settings.init}: this generator writes other tokens than {corpus.folder}; "
                "start without --init, or build the corpus in its representation"
            )
        return composer.model, composer.representation
    conditions = conditions_of(
        corpus, settings.condition, settings.artist_pieces, settings.exclude_sources
    )
    representation = Representation(corpus.representation.settings, conditions)
    if settings.byte_pairs:
        numbers = corpus.select("train", exclude_sources=settings.exclude_sources)
        pieces = (corpus.piece(number) for number in numbers)
        representation = merged_from(pieces, representation, settings.byte_pairs)
    torch.manual_seed(derived_seed(settings.seed, "weights"))
    return build(representation.vocab_size, settings.generator).to(device), representation


def check_byte_pairs(settings: TrainSettings) -> None:
    """Merged tokens mean nothing to a discriminator, and belong to one generator.

    Raises:
        UserError: they are asked for beside either.
    """
    for flag in ("adv_weight", "reward_weight", "init"):
        if settings.byte_pairs and getattr(settings, flag):
            raise UserError(
                f"--byte-pairs with --{flag.replace('_', '-')}: merged tokens are for a "
                "generator of its own, trained by cross-entropy alone; leave one of them out"
            )


def check_context(settings: TrainSettings, context: int, representation: Representation) -> None:
    """Refuses at the start what would not fit the generator's context hours later.

    Raises:
        UserError: windows or rollouts are longer.
    """
    wanted = {"--length": settings.length}
    if settings.adversarial:
        known = "label:jazz" in representation.conditions
        wanted["--prompt and --rollout"] = known + settings.prompt + settings.rollout
    for flags, tokens in wanted.items():
        if tokens > context:
            raise UserError(
                f"{flags}: {tokens} tokens do not fit the generator's context of {context}; use "
                "less, or a larger --max-length"
            )
