"""Every choice of a training run, typed and frozen.

A preset is a YAML file with some of these fields; a command-line flag overrides it; an unknown key
is an error. Each field's description is also its `--help`, so no torch may be imported here.
"""

import re
from collections.abc import Collection
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_tools.errors import UserError
from data_tools.settings import AugmentSettings, NeutraliseSettings, ThinningSettings
from discriminator.settings import CNNSettings, OneModel
from generator.settings import MODELS, ModelSettings, TransformerSettings

Precision = Literal["auto", "fp32", "bf16"]


class Settings(BaseModel):
    """What all training runs share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, description="Seed of weights, data order, noise and augmentation.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    exclude_sources: tuple[str, ...] = Field((), description="Sources of the corpus left out.")
    keep: int = Field(2, ge=1, description="Checkpoints kept besides the best.")


AdversarialLoss = Literal["matching", "hinge", "non_saturating"]


class PretrainSettings(Settings):
    """The style discriminator: jazz or not."""

    precision: Precision = Field("auto", description="auto takes bf16 where the device has it.")
    model: OneModel = CNNSettings()
    hide: tuple[Literal["velocity", "duration", "time_shift"], ...] = Field(
        (), description="Token types whose values the discriminator must not see."
    )
    steps: int = Field(2000, ge=1, description="Most optimizer steps.")
    batch: int = Field(32, ge=2, description="Windows a step.")
    window: int = Field(512, ge=16, description="Tokens in the longest window.")
    shortest: int = Field(128, ge=16, description="Tokens in the shortest window.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate.")
    warmup: int = Field(100, ge=0, description="Steps of linear warm-up before the cosine.")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's decay of weight matrices.")
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    average: float = Field(
        0.99, ge=0, lt=1, description="Decay of the averaged weights that are kept; 0: the last."
    )
    folds: int = Field(
        0, ge=0, description="Leave a fold of the training groups out: one in so many; 0: none."
    )
    fold: int = Field(0, ge=0, description="Which fold; differs between an ensemble's members.")
    label_smoothing: float = Field(0.05, ge=0, lt=0.5, description="Keeps targets off 0 and 1.")
    spotting_steps: int = Field(
        0,
        ge=0,
        description="Steps of learning to spot replaced pitches before the labels; also learns "
        "from music without a label.",
    )
    corrupt_share: float = Field(
        0.15,
        ge=0,
        le=1,
        description="Share of the not-jazz windows that are corrupted music of either label "
        "(shuffled, random or repeated notes), so that noise is not called jazz; none if raw.",
    )
    augment: AugmentSettings = AugmentSettings(stretch=0.25, jitter=0.3, loudness=4, transpose=6)
    neutralise: NeutraliseSettings = NeutraliseSettings()
    thinning: ThinningSettings = ThinningSettings()
    evaluate_every: int = Field(250, ge=1, description="Steps between validations.")
    patience: int = Field(4, ge=1, description="Validations without a better one before stopping.")

    @model_validator(mode="after")
    def _windows_ordered(self) -> Self:
        if self.shortest > self.window:
            raise ValueError(f"--shortest {self.shortest} is longer than --window {self.window}")
        if self.folds and self.fold >= self.folds:
            raise ValueError(f"--fold {self.fold} of --folds {self.folds}: they count from 0")
        if self.spotting_steps and self.model.kind == "statistics":
            raise ValueError("--spotting-steps: statistics have no order to learn; take a network")
        return self


class TrainSettings(Settings):
    """The generator: cross-entropy, with the adversarial term added to it."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto takes bf16 where the device has it; fp16 scales its gradients."
    )
    generator: ModelSettings = TransformerSettings()
    init: str = Field(
        "",
        description="Generator to start from: a run, a checkpoint, ce or adv; its size and "
        "dropout then hold.",
    )
    condition: Literal["none", "label", "artist"] = Field(
        "label", description="Tokens before a piece: none, its label, or label and artist."
    )
    condition_dropout: float = Field(
        0.1, ge=0, le=1, description="Share of windows trained without their condition tokens."
    )
    byte_pairs: int = Field(
        0,
        ge=0,
        le=20_000,
        description="Merged tokens (BPE) learnt from the training pieces; plain "
        "cross-entropy only.",
    )
    artist_pieces: int = Field(
        20, ge=1, description="Pieces an artist needs in training to get a token."
    )
    steps: int = Field(3000, ge=1, description="Optimizer steps in all.")
    batch: int = Field(16, ge=1, description="Windows a step, over all ranks and parts of it.")
    accumulate: int = Field(
        1,
        ge=1,
        description="Parts a rank reads its windows in: less memory, the same step up to dropout "
        "and an LSTM's batch normalisation.",
    )
    length: int = Field(384, ge=8, description="Tokens a window.")
    packing: bool = Field(
        False, description="Fill a window beyond its piece's end with other pieces, not padding."
    )
    workers: int = Field(
        -1,
        ge=-1,
        description="Processes that prepare windows; -1: none on a CPU, up to 8 on a GPU.",
    )
    optimizer: Literal["adamw", "adam", "rmsprop"] = Field(
        "adamw", description="AdamW, Adam or RMSprop."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate.")
    schedule: Literal["cosine", "constant", "plateau"] = Field(
        "cosine",
        description="After the warm-up: a cosine, the peak throughout, or half whenever the "
        "validation stops to improve.",
    )
    final_rate: float = Field(0.1, ge=0, le=1, description="Last learning rate, as share of peak.")
    warmup: int = Field(100, ge=0, description="Steps of linear warm-up.")
    plateau_patience: int = Field(
        2, ge=1, description="Validations without a better one before a plateau's halving."
    )
    weight_decay: float = Field(0.05, ge=0, description="AdamW's decay of weight matrices.")
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    smoothing: float = Field(
        0.0, ge=0, lt=1, description="Label smoothing: probability spread over all tokens."
    )
    average: Literal["none", "ema", "swa"] = Field(
        "none",
        description="Keep averaged weights: exponentially, or evenly over the last steps (SWA).",
    )
    average_decay: float = Field(0.999, ge=0, lt=1, description="Decay of the exponential average.")
    average_from: float = Field(
        0.75, ge=0, lt=1, description="Share of the steps after which SWA begins."
    )
    compile: bool = Field(
        False, description="torch.compile the training pass (needs a C++ compiler on a CPU)."
    )
    augmentation: bool = Field(True, description="Change windows as the next flags say.")
    augment: AugmentSettings = AugmentSettings()
    evaluate_every: int = Field(250, ge=1, description="Steps between validations and samples.")
    checkpoint_every: int = Field(250, ge=1, description="Steps between checkpoints.")
    validation_windows: int = Field(128, ge=1, description="Windows a validation reads.")
    samples: int = Field(4, ge=0, description="Pieces sampled at every validation.")
    sample_length: int = Field(384, ge=16, description="Tokens a sampled piece has.")

    adv_weight: float = Field(
        0.0, ge=0, description="Weight of the adversarial term; 0 is plain cross-entropy."
    )
    adv_scale: Literal["loss", "gradient"] = Field(
        "loss",
        description="The weight multiplies the loss, or sets the adversarial gradient's share of "
        "the cross-entropy gradient's norm at the logits.",
    )
    discriminator: str = Field(
        "", description="Style discriminator: a pretrain-disc run; empty takes the shipped one."
    )
    adv_loss: AdversarialLoss = Field(
        "matching",
        description="matching draws the logits to the distribution of real jazz's; hinge stops "
        "when all are at its median; non_saturating never stops.",
    )
    adv_start: int = Field(0, ge=0, description="First step with the adversarial term.")
    adv_ramp: int = Field(50, ge=0, description="Steps over which its weight rises from zero.")
    adv_decay: int = Field(
        0, ge=0, description="Last steps over which the weight falls to zero again."
    )
    adv_every: int = Field(1, ge=1, description="The term joins every so many steps.")
    adv_ahead: int = Field(
        1,
        ge=1,
        description="Adversarial steps whose rollouts are drawn at once, for a GPU that waits for "
        "launches; no quicker on a CPU, and the later ones are by weights that much older.",
    )
    adv_critics: Literal["style", "realism", "both"] = Field(
        "style",
        description="Who scores: the pretrained jazz discriminator, one trained along that tells "
        "real jazz from this generator's own, or both.",
    )
    adv_estimator: Literal["replay", "teacher", "unroll", "reinforce"] = Field(
        "reinforce",
        description="How the score becomes a gradient: as a reward of whole rollouts (reinforce), "
        "through the Gumbel-softmax relaxation of replayed rollouts (replay), of next tokens along "
        "real music (teacher), or by full back-propagation through time (unroll, slow).",
    )
    adv_caution: float = Field(
        0.0, ge=0, description="Standard deviations of an ensemble's members taken from its mean."
    )
    realism_loss: Literal["relativistic", "non_saturating", "hinge", "wasserstein"] = Field(
        "relativistic", description="Loss of the discriminator trained along, on both sides."
    )
    realism_share: float = Field(
        1.0, ge=0, description="Its weight beside the style discriminator's."
    )
    realism_rate: float = Field(3e-4, gt=0, description="Its learning rate.")
    realism_warmup: int = Field(
        30, ge=0, description="Adversarial steps it learns before the generator hears of it."
    )
    realism_winning: float = Field(
        0.8, gt=0.5, le=1, description="It does not learn while it tells apart more than this."
    )
    realism_slope: float = Field(
        1.0, ge=0, description="Its R1 penalty; with wasserstein a tenth of its gradient penalty."
    )
    realism_smoothing: float = Field(
        0.1, ge=0, lt=0.5, description="Its label smoothing of real music."
    )
    realism_spectral: bool = Field(False, description="Spectral norm in all its layers.")
    adv_batch: int = Field(8, ge=1, description="Rollouts an adversarial step.")
    rollout: int = Field(256, ge=8, description="Tokens a rollout adds.")
    prompt: int = Field(64, ge=1, description="Tokens of real music before a rollout.")
    bos_share: float = Field(
        0.5, ge=0, le=1, description="Share of adversarial steps that start from nothing."
    )
    temperature: float = Field(1.0, gt=0, description="Sampling temperature of rollouts.")
    relax: Literal["straight_through", "soft"] = Field(
        "straight_through",
        description="Discriminators see drawn tokens, or mixtures of them (soft).",
    )
    relaxation: float = Field(
        1.0, gt=0, description="Gumbel-softmax temperature of the backward pass."
    )
    relaxation_end: float = Field(
        0.0, ge=0, description="The same at the last step, reached by equal factors; 0: no change."
    )
    relaxation_forward: float = Field(
        0.5, gt=0, description="Temperature of what discriminators see, if soft."
    )
    reward_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the self-referential reward: runs, loops, copied bars, stuck "
        "rhythm and silence beyond the corpus's own 98th percentile cost. Needs --adv-estimator "
        "reinforce or replay.",
    )
    kl_weight: float = Field(
        0.0, ge=0, description="Weight of the divergence from the generator it started from."
    )
    entropy_weight: float = Field(0.0, ge=0, description="Weight of the entropy bonus.")
    judge: str = Field(
        "",
        description="A judge that gives no gradient (a folder of 'experiments.recipes.judges'): "
        "an alarm is raised where the discriminator's score rises and its does not.",
    )
    guard_hollow: bool = Field(
        True, description="A rollout loses logits for notes it lacks: discriminators like silence."
    )
    guard_bits: float = Field(
        0.02, ge=0, description="Go back when validation bits a note rise by this share; 0: never."
    )
    guard_variety: float = Field(
        0.8, ge=0, lt=1, description="Go back when rollouts' variety falls to this share."
    )
    guard_returns: int = Field(
        3, ge=-1, description="Stop the run at the next time after so many; -1: only warn."
    )

    @property
    def adversarial(self) -> bool:
        """Whether anything but cross-entropy is learnt from."""
        return bool(self.adv_weight or self.reward_weight)

    @property
    def style(self) -> bool:
        """Whether the pretrained discriminator takes part."""
        return bool(self.adv_weight) and self.adv_critics != "realism"

    @property
    def realism(self) -> bool:
        """Whether a discriminator is trained along."""
        return bool(self.adv_weight) and self.adv_critics != "style"

    @model_validator(mode="after")
    def _estimator_fits(self) -> Self:
        if self.adv_estimator == "reinforce" and self.relax == "soft":
            raise ValueError(
                "--relax soft means nothing to --adv-estimator reinforce; choose --adv-estimator "
                "replay"
            )
        if self.adv_ahead > 1 and self.adv_estimator in ("teacher", "unroll"):
            raise ValueError(
                f"--adv-ahead draws rollouts ahead, and --adv-estimator {self.adv_estimator} has "
                "none that could be; choose --adv-estimator replay or reinforce"
            )
        if self.adv_estimator == "teacher" and self.reward_weight:
            raise ValueError(
                "--reward-weight needs rollouts, and --adv-estimator teacher has none; choose "
                "--adv-estimator replay or reinforce"
            )
        if self.adv_estimator == "unroll" and self.reward_weight:
            # A policy gradient holds the tokens before each one fixed; unrolled rows are not.
            raise ValueError(
                "--reward-weight is a policy gradient, which --adv-estimator unroll would count "
                "twice; choose --adv-estimator replay or reinforce"
            )
        return self


AnySettings = TypeVar("AnySettings", bound=BaseModel)


def preset_names(kind: type[BaseModel] | None = None) -> list[str]:
    """The presets this package ships, all or those for one kind of settings."""
    folder = resources.files("experiments") / "presets"
    names = sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))
    return [name for name in names if kind is None or not _strange(read_preset(name), kind)]


def preset_for(kind: type[BaseModel], name: str) -> dict[str, Any]:
    """A preset for one kind of settings; see `read_preset`.

    Raises:
        UserError: there is none, it is no YAML mapping, or it is for another command.
    """
    content = read_preset(name)
    strange = _strange(content, kind)
    # A slip of the pen is told by `build`.
    if strange and any(not _strange(content, other) for other in (PretrainSettings, TrainSettings)):
        raise UserError(
            f"{name}: a preset for another command, it sets '{strange[0]}'; for this one there are "
            f"{', '.join(preset_names(kind))}"
        )
    return content


def _strange(content: dict[str, Any], kind: type[BaseModel]) -> list[str]:
    return [str(key) for key in content if key not in kind.model_fields]


def read_preset(name: str) -> dict[str, Any]:
    """A shipped preset by name, or a YAML file by path.

    Raises:
        UserError: there is none, or it is no YAML mapping.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{name}: no such preset file")
        text = path.read_bytes()
    elif name in preset_names():
        text = (resources.files("experiments") / "presets" / f"{name}.yaml").read_bytes()
    else:
        raise UserError(f"no preset '{name}'; there are: {', '.join(preset_names())}")
    try:
        content = yaml.safe_load(text) or {}
    # Besides its own: of a date that is none, and of what is nested deep.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{name}: not YAML ({error})".replace("\n", " ")) from None
    if not isinstance(content, dict):
        raise UserError(f"{name}: a preset is a list of 'field: value' lines")
    return content


def build(
    kind: type[AnySettings],
    *layers: dict[str, Any],
    flags: Collection[str] = (),
    preset: bool = False,
) -> AnySettings:
    """Settings from layers of values, later ones over earlier, nested mappings merged.

    Args:
        kind: of settings.
        layers: nested like it.
        flags: fields that are flags of the command, to name one where its value does not fit.
        preset: whether the layers begin with one, and end with what was typed: flags that nobody
            typed are then said to be the preset's.

    Raises:
        UserError: an unknown field or a value out of range, by name.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        # Which family of generator it is stands in `kind`, not in the place.
        steps, whose = [str(step) for step in first["loc"]], ""
        if steps[:1] == ["generator"] and steps[1:2] and steps[1] in MODELS:
            whose = f" of the {steps.pop(1)}"
        place = f"setting '{'.'.join(steps)}'" if steps else ""
        presets = _names(*layers[:-1]) - _names(layers[-1]) if preset else set()
        if first["type"] == "value_error":  # of several together, named in the message
            told = str(first["ctx"]["error"])
            named = dict.fromkeys(re.findall(r"--[a-z][a-z-]*", told))
            theirs = [flag for flag in named if flag[2:].replace("-", "_") in presets]
            # Between the two is a model, whose fields are a preset's or a size's.
            either = {flag[2:].replace("-", "_") for flag in theirs} & _names(*layers[1:-1])
            origin = f"the preset{' or --size' * bool(either)}"
            note = f" ({' and '.join(theirs)} from {origin})" if theirs else ""
            raise UserError(f"{place}{': ' * bool(place)}{told}{note}") from None
        if steps and steps[-1] in presets:
            place = f"the preset's {place}"
        elif steps and steps[-1] in flags:
            place += f" (--{steps[-1].replace('_', '-')})"
        if first["type"] == "extra_forbidden":
            onward = "; leave it out, or take another --model" if whose and flags else ""
            raise UserError(f"{place}: no such setting{whose}{onward}") from None
        raise UserError(f"{place}: {first['msg']}") from None


def _names(*layers: dict[str, Any]) -> set[str]:
    """The fields that layers set, those of nested settings too."""
    inner = [value for layer in layers for value in layer.values() if isinstance(value, dict)]
    own = {str(key) for layer in layers for key in layer}
    return own | _names(*inner) if inner else own


def _merge(into: dict[str, Any], layer: dict[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, dict) else value
