"""What a discriminator is made of, and how a classifier reads a piece with it.

Frozen pydantic models without torch, read from presets and saved beside the weights; unknown keys
are errors.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Bounds are far beyond any model that was made: a damaged or hostile card asks for no more.
MOST_LAYERS, WIDEST = 1000, 2**16

View = Literal["tokens", "harmony", "rhythm", "touch"]
VIEWS: tuple[View, ...] = ("tokens", "harmony", "rhythm", "touch")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _ModelSettings(_Settings):
    """What all models share."""

    view: View = Field(
        "tokens",
        description="What it looks at: every token; notes as harmony (no time, no velocity); "
        "harmony and coarse timing; or these and velocity.",
    )
    width: int = Field(
        128, ge=4, le=WIDEST, description="channels of the embedding and of every block"
    )
    stride: int = Field(2, ge=1, le=8, description="positions folded into one by the first layer")
    head: int = Field(128, ge=4, le=WIDEST, description="width of the head's hidden layer")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in the layers and in the head")
    bound: float = Field(
        0.0, ge=0, description="the statistics of a piece are bent to within this many of their "
        "deviations from the mean, so that no rare one outweighs the rest; 0 leaves them, and the "
        "view of tokens has none"
    )  # fmt: skip


class CNNSettings(_ModelSettings):
    """A residual dilated CNN: the default, and quick on a CPU."""

    kind: Literal["cnn"] = Field("cnn", description="the dilated CNN")
    kernel: Literal[3, 5] = Field(3, description="taps of each dilated convolution")
    blocks: int = Field(6, ge=1, le=12, description="residual blocks, dilations 1, 2, 4, 8, ...")


class TransformerSettings(_ModelSettings):
    """A pre-norm transformer encoder; with a stride over 1, a convolution shortens its input."""

    kind: Literal["transformer"] = Field("transformer", description="the transformer encoder")
    layers: int = Field(4, ge=1, le=MOST_LAYERS, description="attention layers")
    heads: int = Field(4, ge=1, description="attention heads")
    stride: int = Field(4, ge=1, le=8, description="positions folded into one by the first layer")

    @model_validator(mode="after")
    def _even_heads(self) -> "TransformerSettings":
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} must be a multiple of twice the heads ({2 * self.heads}): "
                "rotary positions turn pairs of channels"
            )
        return self


class StatisticsSettings(_Settings):
    """A perceptron over the statistics of the notes' features alone: the quickest."""

    kind: Literal["statistics"] = Field("statistics", description="statistics of the notes alone")
    view: Literal["harmony", "rhythm", "touch"] = Field(
        "harmony", description="harmony; harmony and coarse timing; or these and velocity"
    )
    width: int = Field(512, ge=4, le=WIDEST, description="width of the hidden layers")
    layers: int = Field(1, ge=1, le=8, description="hidden layers")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout before every layer")
    bound: float = Field(
        0.0, ge=0, description="the statistics of a piece are bent to within this many of their "
        "deviations from the mean, so that no rare one outweighs the rest; 0 leaves them, and the "
        "view of tokens has none"
    )  # fmt: skip


OneModel = Annotated[
    CNNSettings | TransformerSettings | StatisticsSettings, Field(discriminator="kind")
]


class EnsembleSettings(_Settings):
    """Several models whose calibrated logits are averaged; used as one."""

    kind: Literal["ensemble"] = Field("ensemble", description="several models as one")
    members: tuple[OneModel, ...] = Field(min_length=1, description="the models")
    gate: OneModel | None = Field(None, description="a model that tells music from noise")


ModelSettings = Annotated[
    CNNSettings | TransformerSettings | StatisticsSettings | EnsembleSettings,
    Field(discriminator="kind"),
]

_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "cnn": {
        "small": {"kind": "cnn", "width": 128, "blocks": 6, "stride": 2, "head": 256},
        "base": {"kind": "cnn", "width": 448, "blocks": 7, "stride": 2, "head": 512},
    },
    "transformer": {
        "small": {"kind": "transformer", "width": 128, "layers": 4, "heads": 4, "stride": 1},
        "base": {"kind": "transformer", "width": 320, "layers": 6, "heads": 8, "stride": 1},
    },
    "conv-transformer": {
        "small": {"kind": "transformer", "width": 128, "layers": 4, "heads": 4, "stride": 4},
        "base": {"kind": "transformer", "width": 320, "layers": 6, "heads": 8, "stride": 4},
    },
    "statistics": {
        "small": {"kind": "statistics", "width": 512, "layers": 1},
        "base": {"kind": "statistics", "width": 2048, "layers": 2},
    },
}
MODELS = tuple(_SIZES)
SIZES = ("small", "base")
FAMILIES: tuple[type[BaseModel], ...] = (CNNSettings, TransformerSettings, StatisticsSettings)
OF_SIZE = frozenset(name for sizes in _SIZES.values() for one in sizes.values() for name in one)


def model_name(fields: Mapping[str, Any]) -> str:
    """Which of `MODELS` a model's fields make: one with a stride over 1 has a convolution first."""
    kind = fields.get("kind", "cnn")
    if kind != "transformer":
        return kind
    return kind if fields.get("stride") == 1 else f"conv-{kind}"


def sized(model: str, size: str) -> dict[str, Any]:
    """The fields of a model of one of the `MODELS` and `SIZES`: about 1 M and 8 M weights.

    Its statistics are bounded, which transfers better; cards from before that bound none.
    """
    return {**_SIZES[model][size], "bound": 1.0}


class ClassifierSettings(_Settings):
    """A model and the way a whole piece is read with it."""

    model: ModelSettings = Field(CNNSettings(), description="the discriminator within")
    window: int = Field(512, ge=2, description="tokens the model sees at once")
    minimum: int = Field(48, ge=1, description="a piece of fewer tokens gets no probability")
    most: int = Field(
        0, ge=0, description="windows read of a piece at most, spread evenly; 0: all of it"
    )
    scale: float = Field(1.0, gt=0, description="calibration: p = sigmoid(scale * logit + bias)")
    bias: float = Field(0.0, description="calibration: p = sigmoid(scale * logit + bias)")
    low: float = Field(0.5, ge=0, le=1, description="the verdict is not_jazz below this p")
    high: float = Field(0.5, ge=0, le=1, description="and jazz from this p on, else unsure")

    @model_validator(mode="after")
    def _ordered(self) -> "ClassifierSettings":
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        return self
