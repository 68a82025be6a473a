"""What can be chosen about a generator: its size and its regularisation.

The defaults make a model of about three million weights, which two CPU cores train and sample from.
The vocabulary is no setting: it comes from the representation the model is built for.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TransformerSettings(BaseModel):
    """Size and regularisation of the transformer generator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int = Field(4, ge=1, description="Transformer blocks, one after another.")
    width: int = Field(256, ge=8, description="Channels of the residual stream.")
    heads: int = Field(4, ge=1, description="Attention heads; they share the width evenly.")
    mlp_ratio: float = Field(
        4.0, gt=0, description="Feed-forward size, given as a plain two-matrix MLP's ratio."
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of activations dropped in training.")
    max_length: int = Field(
        1024, ge=4, description="Longest context in tokens, conditions and BOS included."
    )
    tie_embeddings: bool = Field(
        True, description="Use the token embedding as the output layer as well."
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} must be a multiple of twice the heads ({2 * self.heads}): "
                "rotary positions turn pairs of channels within a head"
            )
        return self
