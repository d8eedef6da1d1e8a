"""Replay of sub-sequences."""

from dream_agents.replay.sequence import ExtraField, SequenceBatch, SequenceReplayBuffer, StoredSteps

__all__ = ["ExtraField", "SequenceBatch", "SequenceReplayBuffer", "StoredSteps"]
