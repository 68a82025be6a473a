"""Music as token ids and back: four vocabularies of MidiTok's, each on a beat or a clock grid."""

from data_tools.representation.events import Events
from data_tools.representation.representation import Representation
from data_tools.representation.vocabulary import BOS, CLOCK_STEP_SECONDS, EOS, PAD, TokenType
from data_tools.settings import RepresentationSettings

__all__ = [
    "BOS",
    "CLOCK_STEP_SECONDS",
    "EOS",
    "PAD",
    "Events",
    "Representation",
    "RepresentationSettings",
    "TokenType",
]
