"""Replay of sub-sequences."""

from dream_agents.replay.sequence import SequenceBatch, SequenceReplayBuffer

__all__ = ["SequenceBatch", "SequenceReplayBuffer"]
