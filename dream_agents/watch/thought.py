"""What a planner thought when it decided: its candidates before and after they were improved, and which it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dream_agents.models.autoencoder import DecodesImages
from dream_agents.models.base import WorldModel
from dream_agents.models.dreamer import DreamerWorldModel
from dream_agents.planners import Memory, Plan, Planner
from dream_agents.planners.adaptive import AdaptivePlanner, Candidates
from dream_agents.planners.gradient import GradientPlanner
from dream_agents.planners.objective import discounts, imagine, roll_out_policy, uncertainty


@dataclass
class Imagined:
    """What a world model predicts of N candidates of H steps."""

    #: in [-1, 1], ``[H, N, A]``
    actions: np.ndarray
    #: predicted rewards ``[H, N]``
    rewards: np.ndarray
    #: value at the end ``[N]``
    end_value: np.ndarray
    #: predicted return ``[N]``, with the value at the end
    returns: np.ndarray
    #: how much the values disagree, summed along the way (Eq. 5) ``[N]``
    uncertainty: np.ndarray


@dataclass
class Thought:
    """What a decision of one environment was made of."""

    #: candidates as they were proposed; of planners that sample, the policy's roll-outs
    before: Imagined
    #: candidates after the gradient; those before where the planner has none
    after: Imagined
    #: the candidate that was taken, among ``after``
    chosen: int
    #: executed action ``[A]``, in [-1, 1]
    action: np.ndarray
    #: what the chosen plan would look like ``[H, height, width, 3]``, of models that imagine images; None of others
    frames: np.ndarray | None = None

    @property
    def plan(self) -> np.ndarray:
        """The chosen actions ``[H, A]``, the executed one first."""
        plan: np.ndarray = self.after.actions[:, self.chosen].copy()
        plan[0] = self.action
        return plan


@torch.no_grad()
def think(
    model: WorldModel,
    planner: Planner,
    z: Tensor,
    memory: Memory,
    episode_start: Tensor,
    plan: Plan,
    generator: torch.Generator,
) -> Thought:
    """Look at what a planner planned in ``z [1, Z]``, by working out its candidates a second time.

    :param memory: the planner's, as it was before the decision
    :param plan: what it decided without exploration
    :param generator: in the state in which the decision had it, so that candidates are the same
    """
    before, after = _candidates(model, planner, z, memory, episode_start, plan, generator)
    horizon = getattr(planner, "horizon", len(after))
    first, improved = (_imagined(model, z, actions, horizon) for actions in (before, after))
    distance = (after[0, 0] - plan.action[0]).square().sum(-1)  # [N]
    # Several may begin with the executed action, once clamped: of these the one of the largest return.
    nearest = distance <= distance.min() + 1e-9
    returns = torch.as_tensor(improved.returns, device=nearest.device)
    chosen = int(returns.masked_fill(~nearest, -torch.inf).argmax())
    frames = _frames(model, z, after[:horizon, :, chosen : chosen + 1])
    return Thought(first, improved, chosen, _numpy(plan.action[0]), frames)


def _candidates(
    model: WorldModel,
    planner: Any,
    z: Tensor,
    memory: Memory,
    episode_start: Tensor,
    plan: Plan,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Candidates ``[H, 1, N, A]`` before and after the planner's work on them."""
    if isinstance(planner, GradientPlanner):
        before = planner.propose(model, z, memory, episode_start, generator)
        after, _, _ = planner.improve(model, z, before, generator)
        return before, after
    if isinstance(planner, AdaptivePlanner):
        actions = planner.propose(model, z, memory, episode_start, generator)
        first = improved = planner.select(Candidates(actions, planner.value(model, z, actions)))
        for _ in range(planner.iterations):
            improved = planner.search(model, z, improved, planner.direction(model, z, improved.actions))
        return first.actions, improved.actions
    horizon = getattr(planner, "horizon", 3)
    rolled = roll_out_policy(model, z, horizon, 5, generator)
    mean = plan.memory.get("mean")  # of planners that fit a distribution: what they settled on
    after = rolled if mean is None else mean.transpose(0, 1).unsqueeze(2).to(z.dtype)
    after = after.clone()
    after[0, :, :] = plan.action[:, None]
    return rolled, after


def _imagined(model: WorldModel, z: Tensor, actions: Tensor, horizon: int) -> Imagined:
    """Predict what ``actions [L, 1, N, A]`` lead to; the one after the horizon is for Q(z_H, a_H)."""
    steps = actions[:horizon]
    latents = imagine(model, z, steps)
    rewards = model.reward(latents[:-1], steps, latents[1:])
    weights, end_weight = discounts(model, latents)
    last = None
    if model.takes_action_in_value:
        last = actions[horizon] if len(actions) > horizon else model.policy(latents[-1]).mean
    end = model.values(latents[-1], last)  # [M, 1, N]
    returns = (weights * rewards).sum(0) + end_weight * end.mean(0)
    doubt = uncertainty(model.values(latents[:-1], steps)).sum(0) + uncertainty(end)
    parts = (steps[:, 0], rewards[:, 0], end.mean(0)[0], returns[0], doubt[0])
    return Imagined(*map(_numpy, parts))


def _frames(model: WorldModel, z: Tensor, actions: Tensor) -> np.ndarray | None:
    """What ``actions [H, 1, 1, A]`` would look like ``[H, height, width, 3]``, the newest of stacked frames."""
    coder = model.coder if isinstance(model, DreamerWorldModel) else None
    if not isinstance(coder, DecodesImages):
        return None
    images = coder.decode(imagine(model, z, actions)[1:, 0, 0])  # [H, C, height, width]
    newest = images[:, -3:].movedim(1, -1).cpu().numpy()
    frames: np.ndarray = newest if newest.shape[-1] == 3 else newest[..., -1:].repeat(3, -1)
    return frames


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.float().cpu().numpy()
    return array
