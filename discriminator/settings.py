"""What a discriminator is made of, and how a classifier reads a piece with it.

Frozen pydantic models without torch, read from presets and saved beside the weights; unknown keys
are errors.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CNNSettings(_Settings):
    """A residual dilated CNN over tokens: the default, and quick on a CPU."""

    kind: Literal["cnn"] = Field("cnn", description="the dilated CNN")
    width: int = Field(128, ge=4, description="channels of the embedding and of every block")
    kernel: Literal[3, 5] = Field(3, description="taps of each dilated convolution")
    blocks: int = Field(6, ge=1, le=12, description="residual blocks, dilations 1, 2, 4, 8, ...")
    stride: int = Field(2, ge=1, le=8, description="tokens per position after the first layer")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in the blocks and in the head")


class TransformerSettings(_Settings):
    """A pre-norm transformer encoder over tokens, with a strided convolution in front."""

    kind: Literal["transformer"] = Field("transformer", description="the transformer encoder")
    width: int = Field(128, ge=4, description="width of the embedding and of every layer")
    layers: int = Field(4, ge=1, description="attention layers")
    heads: int = Field(4, ge=1, description="attention heads")
    stride: int = Field(4, ge=1, le=8, description="tokens per position after the first layer")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in the layers and in the head")

    @model_validator(mode="after")
    def _even_heads(self) -> "TransformerSettings":
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} must be a multiple of twice the heads ({2 * self.heads}): "
                "rotary positions turn pairs of channels"
            )
        return self


ModelSettings = Annotated[CNNSettings | TransformerSettings, Field(discriminator="kind")]


class ClassifierSettings(_Settings):
    """A model and the way a whole piece is read with it."""

    model: ModelSettings = Field(CNNSettings(), description="the discriminator within")
    window: int = Field(512, ge=2, description="tokens the model sees at once")
    minimum: int = Field(48, ge=1, description="a piece of fewer tokens gets no probability")
    scale: float = Field(1.0, gt=0, description="calibration: p = sigmoid(scale * logit + bias)")
    bias: float = Field(0.0, description="calibration: p = sigmoid(scale * logit + bias)")
