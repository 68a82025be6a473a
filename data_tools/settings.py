"""What can be chosen about tokens, corpora and augmentation.

Apart from the code that obeys them, so that a command line can list every choice without loading a
tokenizer.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RepresentationSettings(BaseModel):
    """Which tokens music becomes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["duration", "performance"] = Field(
        "duration", description="Token set: durations (TSD) or note-on/note-off (MIDILike)."
    )
    time_base: Literal["clock", "beat"] = Field(
        "clock", description="Grid: 20 ms of real time, or fractions of the file's own beat."
    )
    velocities: int = Field(16, ge=1, le=127, description="Number of velocity levels.")
    pedal: Literal["auto", "fold", "tokens", "drop"] = Field(
        "auto",
        description="Sustain pedal: folded into note lengths, as tokens, or dropped; auto folds "
        "for duration and writes tokens for performance.",
    )


class CorpusSettings(BaseModel):
    """How a corpus is built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    representation: RepresentationSettings = RepresentationSettings()
    min_notes: int = Field(16, ge=1, description="Pieces with fewer notes are set aside.")
    validation: float = Field(0.1, ge=0, lt=1, description="Share of pieces for validation.")
    test: float = Field(0.1, ge=0, lt=1, description="Share of pieces for the test.")
    seed: int = Field(0, ge=0, description="Decides among equal choices when splitting.")


class AugmentSettings(BaseModel):
    """How far a window may be changed; zeros change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transpose: int = Field(5, ge=0, le=24, description="Semitones up or down, at most.")
    stretch: float = Field(0.1, ge=0, lt=1, description="Tempo change, at most this share.")
    jitter: float = Field(
        0.0, ge=0, le=1, description="Share of time shifts moved by one grid step."
    )
    loudness: int = Field(1, ge=0, description="Velocity levels up or down, at most.")
