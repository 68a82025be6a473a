"""What a training run begins with: its generator, and choices that would fail hours later."""

from pathlib import Path
from typing import Any

import torch

from data_tools.bytepair import merged_from
from data_tools.corpus import Corpus
from data_tools.errors import UserError
from data_tools.representation import Representation
from gan.data import conditions_of
from gan.engine import Engine, derived_seed
from gan.run import generator_of
from gan.settings import TrainSettings
from generator.compose import Composer
from generator.folder import conditions_in, settings_of
from generator.model import GeneratorModel, build
from generator.settings import sized


def first_generator(
    corpus: Corpus, settings: TrainSettings, device: torch.device
) -> tuple[GeneratorModel, Representation]:
    """A fresh generator for the corpus, or the one that `settings.init` names.

    Raises:
        UserError: that one writes other tokens, or no artist has pieces enough for a token.
    """
    if settings.init:
        composer = Composer.load(generator_of(settings.init), device)
        if composer.representation.plain.music_digest != corpus.representation.music_digest:
            raise UserError(
                f"{settings.init}: this generator writes other tokens than {corpus.folder}; "
                "start without --init, or build the corpus in its representation"
            )
        if settings.adversarial and composer.representation.plain is not composer.representation:
            raise UserError(
                f"{settings.init}: this generator writes merged tokens (--bpe), which no "
                "discriminator reads and no reward understands; start from one without"
            )
        return composer.model, composer.representation
    conditions = conditions_of(
        corpus, settings.condition, settings.artist_pieces, settings.exclude_sources
    )
    if settings.condition == "artist" and not any(n.startswith("artist:") for n in conditions):
        raise UserError(
            f"--condition artist: no artist of {corpus.folder} has {settings.artist_pieces} pieces "
            "in its training split; lower --artist-pieces, or take --condition label"
        )
    representation = Representation(corpus.representation.settings, conditions)
    if settings.byte_pairs:
        numbers = corpus.select("train", exclude_sources=settings.exclude_sources)
        pieces = (corpus.piece(number) for number in numbers)
        representation = merged_from(pieces, representation, settings.byte_pairs)
    torch.manual_seed(derived_seed(settings.seed, "weights"))
    return build(representation.vocab_size, settings.generator).to(device), representation


def with_its_generator(
    settings: TrainSettings,
    model: str | None,
    size: str | None,
    flags: dict[str, Any],
    condition: str | None = None,
) -> TrainSettings:
    """The settings of a run that goes on from `settings.init`, with the generator's own in them.

    Args:
        settings: as chosen.
        model, size, flags, condition: what was asked for by flags; nothing of it can be had by
            asking.

    Raises:
        UserError: something else was asked for than that generator is.
    """
    folder = generator_of(settings.init)
    own = settings_of(folder)
    if condition:
        _check_condition(settings.init, folder, condition)
    asked: dict[str, tuple[Any, str]] = {}
    if size:
        fields = sized(model or own.kind, size)
        asked |= {name: (value, f"--size {size}") for name, value in fields.items()}
    if model:
        asked["kind"] = model, f"--model {model}"
    for name, value in flags.items():
        flag = f"--{'no-' * (value is False)}{name.replace('_', '-')}"
        asked[name] = value, flag if isinstance(value, bool) else f"{flag} {value}"
    for name, (value, flag) in asked.items():
        if getattr(own, name, None) != value:
            family = "an LSTM" if own.kind == "lstm" else "a transformer"
            has = f" of {name.replace('_', ' ')} {getattr(own, name, '')}"
            if name == "kind":
                has = ""
            elif name not in type(own).model_fields:
                has = " (which has no such setting)"
            raise UserError(
                f"{flag}: --init {settings.init} is {family}{has}, and stays one; leave the flag "
                "out, or start without --init"
            )
    return settings.model_copy(update={"generator": own})


def _check_condition(init: str, folder: Path, asked: str) -> None:
    """Its condition tokens are part of a generator: none can be added, and none taken away.

    Raises:
        UserError: others were asked for.
    """
    kinds = {name.partition(":")[0] for name in conditions_in(folder)}
    has = "artist" if "artist" in kinds else "label" if kinds else "none"
    if has != asked:
        raise UserError(
            f"--condition {asked}: --init {init} was trained with --condition {has}, and its "
            "tokens stay what they are; leave the flag out, or start without --init"
        )


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


def check_precision(settings: TrainSettings, compute: Engine) -> None:
    """Refuses what would fail in the first step.

    Raises:
        UserError: an LSTM in fp16 on a CPU, for which no kernel is there.
    """
    lstm = settings.generator.kind == "lstm"
    if lstm and compute.device.type == "cpu" and compute.autocast_type == torch.float16:
        raise UserError("precision 'fp16': a CPU has none for an LSTM; use bf16 or fp32")


def check_context(settings: TrainSettings, context: int, representation: Representation) -> None:
    """Refuses at the start what would not fit the generator's context hours later.

    Raises:
        UserError: windows or rollouts are longer.
    """
    # The flags need not have been typed: a preset or the defaults give them values, too.
    wanted = {"windows (--length)": settings.length}
    if settings.adversarial:
        known = "label:jazz" in representation.conditions
        rollouts = known + settings.prompt + settings.rollout
        wanted["rollouts (--prompt and --rollout)"] = rollouts
    for what, tokens in wanted.items():
        if tokens > context:
            raise UserError(
                f"{what} of {tokens} tokens do not fit the generator's context of {context}; use "
                "less, or a larger --max-length"
            )
