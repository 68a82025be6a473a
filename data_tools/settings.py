"""What can be chosen about tokens, corpora and augmentation.

Apart from the code that obeys them, so that a command line can list every choice without loading a
tokenizer.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RepresentationSettings(BaseModel):
    """Which tokens music becomes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["duration", "performance", "remi", "raw"] = Field(
        "duration",
        description="Token set: durations (TSD), note-on/note-off (MIDILike), bars and positions "
        "(REMI), or raw: note-on/note-off of several instruments.",
    )
    time_base: Literal["clock", "beat"] = Field(
        "clock", description="Grid: 20 ms of real time, or fractions of the file's own beat."
    )
    velocities: int = Field(
        16, ge=0, le=127, description="Number of velocity levels; 0 writes no velocities."
    )
    pedal: Literal["auto", "fold", "tokens", "drop"] = Field(
        "auto",
        description="Sustain pedal: folded into note lengths, as tokens, or dropped; auto folds "
        "for duration and remi and writes tokens for performance and raw.",
    )


class CorpusSettings(BaseModel):
    """How a corpus is built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    representation: RepresentationSettings = RepresentationSettings()
    min_notes: int = Field(16, ge=1, description="Pieces with fewer notes are set aside.")
    max_notes: int = Field(0, ge=0, description="Pieces with more are set aside; 0: no bound.")
    min_seconds: float = Field(0.0, ge=0, description="Shorter pieces are set aside.")
    max_seconds: float = Field(0.0, ge=0, description="Longer ones are set aside; 0: no bound.")
    max_repetition: float = Field(
        0.9, ge=0, le=1, description="Pieces of which more is one bar, or pitch, are set aside."
    )
    max_lead: float = Field(
        0.0, ge=0, description="Seconds of silence before the first note, at most; 0: no bound."
    )
    max_silence: float = Field(
        0.0, ge=0, description="Seconds of silence between notes, at most; 0: no bound."
    )
    max_silent_share: float = Field(
        0.98, ge=0, le=1, description="Share of a piece's time in which no key is held, at most."
    )
    duplicates: Literal["drop", "keep"] = Field(
        "drop", description="Copies of the very same file, or of the very same notes."
    )
    near_duplicates: Literal["drop", "keep"] = Field(
        "keep",
        description="Transposed, stretched or edited copies; drop keeps the one of most notes.",
    )
    conflicts: Literal["drop", "keep"] = Field(
        "keep", description="Copies of one music that have different labels."
    )
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


class NeutraliseSettings(BaseModel):
    """How a window's timing and touch are made to say less about where it comes from.

    Every name begins with `neutral_`, because a field is a flag and stands beside `AugmentSettings`
    there. Nothing is neutralised until `neutral_share` says so; the other fields then hold the
    recommended amounts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    neutral_share: float = Field(
        0.0, ge=0, le=1, description="Share of windows whose timing is neutralised; 0 is none."
    )
    neutral_stretch: float = Field(
        0.15, ge=0, lt=1, description="Tempo change in continuous time, at most this share."
    )
    neutral_jitter: float = Field(
        16.0, ge=0, le=200, description="Milliseconds each onset moves, at most, either way."
    )
    neutral_merge: float = Field(
        0.0, ge=0, le=100, description="Onsets this many milliseconds apart first become one chord."
    )
    neutral_velocity: Literal["keep", "flat", "coarse"] = Field(
        "flat",
        description="Loudness: as it is, one level for all, or soft, middle and accented.",
    )
    neutral_gain: int = Field(
        0, ge=0, le=127, description="MIDI velocity units louder or softer, at most."
    )
    neutral_length: float = Field(
        0.1, ge=0, le=2, description="Spread of random note lengths, as share of the length."
    )
    neutral_quantize: float = Field(
        0.5, ge=0, le=1, description="Share of played windows snapped to a random beat."
    )
    neutral_humanise: float = Field(
        1.0, ge=0, le=1, description="Share of quantized windows given a player's deviations."
    )


class ThinningSettings(BaseModel):
    """How often parts of a window's texture are left out; see `data_tools.thinning`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thin_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of windows that lose their bass, their melody or their lines, as a "
        "band's piano lacks them; 0 is none.",
    )


NEUTRAL = NeutraliseSettings(neutral_share=1.0)
