"""What can be chosen about a generator: its family, its size, how it is put together.

The defaults make a model of about three million weights, which two CPU cores train and sample from.
The vocabulary is no setting: it comes from the representation the model is built for. What each
choice means, and whose idea it is, stands where it is computed: `norms`, `positions`,
`initialise`, `transformer`, `lstm`.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

# Bounds are far beyond any model that was made: a damaged or hostile card asks for no more.
MOST_LAYERS, WIDEST, LONGEST = 1000, 2**16, 2**18

EmbeddingStart = Literal["scaled", "torch"]


class _ModelSettings(BaseModel):
    """What both families share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int = Field(4, ge=1, le=MOST_LAYERS, description="Layers, one after another.")
    width: int = Field(256, ge=8, le=WIDEST, description="Channels of the embedding.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of activations dropped in training.")
    tie_embeddings: bool = Field(
        True, description="Use the token embedding as the output layer as well."
    )
    embedding_start: EmbeddingStart = Field(
        "scaled", description="Initial embedding: deviation 0.02, or PyTorch's default of 1."
    )


class TransformerSettings(_ModelSettings):
    """The transformer generator."""

    kind: Literal["transformer"] = Field("transformer", description="The family: transformer.")
    heads: int = Field(4, ge=1, description="Attention heads; they share the width evenly.")
    mlp_ratio: float = Field(
        4.0, gt=0, le=64, description="Feed-forward size, given as a plain two-matrix MLP's ratio."
    )
    max_length: int = Field(
        1024,
        ge=4,
        le=LONGEST,
        description="Longest context in tokens, conditions and BOS included.",
    )
    norm: Literal["layer", "rms", "scale", "none"] = Field(
        "layer", description="LayerNorm, RMSNorm, ScaleNorm or none (with start tfixup)."
    )
    positions: Literal["rotary", "learned", "relative", "none"] = Field(
        "rotary", description="How attention knows order: rotary, learned vectors, relative bias."
    )
    qk_norm: bool = Field(False, description="Normalise queries and keys within each head.")
    fix_norm: bool = Field(False, description="FixNorm: token embeddings of one fixed length.")
    start: Literal["gpt2", "plain", "torch", "tfixup"] = Field(
        "gpt2",
        description="Initial weights: 0.02 with GPT-2's scaled residual outputs, 0.02 throughout, "
        "PyTorch's defaults, or T-Fixup (no norm, no warm-up).",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"--width {self.width} must be a multiple of twice --heads {self.heads}: rotary "
                "positions turn pairs of channels within a head"
            )
        if self.start == "tfixup" and self.norm != "none":
            raise ValueError("--start tfixup stands in for normalisation; use it with --norm none")
        if self.start == "tfixup" and (self.tie_embeddings and self.fix_norm):
            raise ValueError(
                "--start tfixup scales the embeddings, --fix-norm fixes them; choose one"
            )
        return self


class LSTMSettings(_ModelSettings):
    """The LSTM generator: embedding, stacked LSTM, a dense head with ReLUs."""

    kind: Literal["lstm"] = Field("lstm", description="The family: LSTM.")
    layers: int = Field(2, ge=1, le=MOST_LAYERS, description="LSTM layers, one after another.")
    hidden: int = Field(448, ge=8, le=WIDEST, description="Cells of each LSTM layer.")
    dense: Literal[0, 1, 2] = Field(
        1, description="Dense layers with a ReLU between the LSTM and the output layer."
    )
    batch_norm: bool = Field(
        True, description="Batch normalisation after each dense layer (of each rank's own windows)."
    )
    tie_embeddings: bool = Field(
        False, description="Use the token embedding as the output layer as well."
    )
    # Gates that start with weights of their own size would not hear an embedding of 0.02.
    embedding_start: EmbeddingStart = Field(
        "torch", description="Initial embedding: deviation 0.02, or PyTorch's default of 1."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.tie_embeddings and not self.dense and self.hidden != self.width:
            raise ValueError(
                f"--tie-embeddings with --dense 0 needs cells as wide as the embedding; "
                f"they are --hidden {self.hidden} and --width {self.width}"
            )
        return self


def _kind(value: Any) -> str | None:
    """The family; settings written before there were two name none."""
    if isinstance(value, dict):
        return value.get("kind", "transformer")
    return getattr(value, "kind", None)


ModelSettings = Annotated[
    Annotated[TransformerSettings, Tag("transformer")] | Annotated[LSTMSettings, Tag("lstm")],
    Discriminator(_kind),
]
MODELS = ("transformer", "lstm")
SIZES = ("small", "base", "large")
_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "transformer": {
        "small": {"layers": 4, "width": 256, "heads": 4},
        "base": {"layers": 6, "width": 384, "heads": 6},
        "large": {"layers": 12, "width": 768, "heads": 12},
    },
    "lstm": {
        "small": {"layers": 2, "width": 256, "hidden": 448},
        "base": {"layers": 2, "width": 384, "hidden": 832},
        "large": {"layers": 3, "width": 768, "hidden": 2048},
    },
}
FAMILIES: tuple[type[BaseModel], ...] = (TransformerSettings, LSTMSettings)
OF_SIZE = frozenset(name for sizes in _SIZES.values() for one in sizes.values() for name in one)


def sized(model: str, size: str) -> dict[str, Any]:
    """The fields of a model of `MODELS` and `SIZES`: about 3, 10 and 100 M weights."""
    return {"kind": model, **_SIZES[model][size]}
