"""What makes the pages' snippets short: their text runs as it stands, with small networks and short episodes.

``children/sitecustomize.py`` on ``PYTHONPATH`` cuts the processes that a command starts, too.
"""

from __future__ import annotations

from typing import Any

import pytest

EPISODE = 6  # decisions
LEARN = 10  # decisions, whatever a snippet asks for


def cut(monkeypatch: pytest.MonkeyPatch, decisions: int = LEARN) -> None:
    """Shorten episodes, shrink networks and stop ``learn`` early, in this process."""
    from gymnasium.wrappers import TimeLimit
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    from dream_agents.models import bmpc, tdmpc

    for sizes in (tdmpc.TDMPC_SIZES, bmpc.BMPC_SIZES):
        for name in sizes:
            monkeypatch.setitem(sizes, name, tdmpc.TDMPCSize(16, 16, 16, 2, 2))
    limit, learn = TimeLimit.__init__, OffPolicyAlgorithm.learn

    def short(self: Any, env: Any, max_episode_steps: int) -> None:
        limit(self, env, min(max_episode_steps, EPISODE))

    def stops_early(self: Any, total_timesteps: int, *arguments: Any, **keywords: Any) -> Any:
        return learn(self, min(total_timesteps, decisions), *arguments, **keywords)

    monkeypatch.setattr(TimeLimit, "__init__", short)
    monkeypatch.setattr(OffPolicyAlgorithm, "learn", stops_early)
