"""Soundfonts: where they lie, what is in them, and how one of their notes sounds."""
