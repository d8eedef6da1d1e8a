"""Adaptive Dream-MPC: steps and iterations that fit the task, which the paper names as future work (Section A)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dream_agents.models.base import WorldModel
from dream_agents.models.kernels import is_tracing
from dream_agents.planners.base import Described, Memory, Plan, check_kinds, check_positive, normal, take
from dream_agents.planners.objective import planning_objective

#: range of the spread of candidates, as noise on the executed action and for a policy that imitates plans
MIN_STD, MAX_STD = 0.1, 2.0
#: gradients below this are no direction
_SMALLEST_GRADIENT = 1e-12


class Candidates(NamedTuple):
    """Action sequences and what the model predicts of them."""

    #: ``[L, B, N, A]``: H actions, and one more where the end is valued by Q(z_H, a_H)
    actions: Tensor
    #: predicted return ``[B, N]``
    value: Tensor


@dataclass
class AdaptivePlanner:
    """Improves a few candidates along the gradient of the predicted return, by steps that a line search chooses.

    Dream-MPC's step is in action units a unit of *return*, and returns differ by a thousand between tasks and grow
    while learning. Here a gradient only says where to go: it is divided by its largest component, candidate by
    candidate, so that steps are in action units, and each candidate takes the step after which its predicted return is
    largest, or none. Candidates compete by that return, after the step. There is no uncertainty penalty.

    Candidates are roll-outs of the policy, of its mean, of samples, and of samples with more noise than the policy has;
    and the previous plan, to whose end the policy adds an action. Where values are Q(z, a), a plan has one action more
    than steps, for Q(z_H, a_H).

    The defaults are for values of actions, TD-MPC2's. Where values are of states, BMPC's and Dreamer's, agents take
    ``samples=6, wide=12, temperature=0.3`` for "adaptive" by name.

    Shapes: B environments, N candidates, L actions of a plan, A action dimensions.

    :param horizon: H, planned steps
    :param samples: roll-outs of the stochastic policy
    :param wide: roll-outs with ``wide_scale`` times its noise
    :param wide_scale: how much more noise these have
    :param improved: candidates that the gradient improves: the ones with the largest predicted return
    :param steps: largest changes of an action that the line search tries
    :param iterations: largest number of gradient steps; a decision stops where nothing is gained any more
    :param temperature: of the weights of candidates in the executed action, in standard deviations of their predicted
        returns; 0 takes the best
    :param return_lambda: of the lambda-return (Eq. 14); 1 takes the value at the horizon only (Eq. 6)
    :param exploration_std: standard deviation of the noise on the executed action unless deterministic; None for the
        spread of the candidates' actions, which a policy that imitates plans is given, too
    :param budget_ms: milliseconds that a decision may take: iterations go on while there is time for another one, and
        ``iterations`` limits them no more, so that decisions depend on the machine. None for no such limit.
    """

    horizon: int = 3
    samples: int = 2
    wide: int = 0
    wide_scale: float = 2.0
    improved: int = 8
    steps: tuple[float, ...] = (0.02, 0.1, 0.5)
    iterations: int = 1
    temperature: float = 0.0
    return_lambda: float = 1.0
    exploration_std: float | None = None
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        self.steps = tuple(self.steps)
        check_kinds(self)
        check_positive(self, horizon=self.horizon, improved=self.improved, iterations=self.iterations)
        check_positive(self, budget_ms=1 if self.budget_ms is None else self.budget_ms)
        if not self.steps or min(self.steps) <= 0:
            raise ValueError(f"{name}(steps={self.steps}): give one step or several, all above 0")
        for option in ("samples", "wide", "wide_scale", "temperature", "exploration_std"):
            if (getattr(self, option) or 0) < 0:
                raise ValueError(f"{name}({option}={getattr(self, option)}): {option} must be at least 0")
        if not 0 <= self.return_lambda <= 1:
            raise ValueError(f"{name}(return_lambda={self.return_lambda}): return_lambda must lie in [0, 1]")

    def plan_length(self, model: WorldModel) -> int:
        """L, actions of a plan."""
        return self.horizon + int(model.takes_action_in_value)

    def initial_memory(self, model: WorldModel, batch_size: int) -> Memory:
        """An empty plan ``[B, L, A]``."""
        shape = (batch_size, self.plan_length(model), model.action_dim)
        return {"plan": torch.zeros(shape, device=model.device)}

    @torch.no_grad()
    def plan(
        self,
        model: WorldModel,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Improve candidates by gradient and line search, and act with the best or their weighted mean."""
        clock = Clock(self)
        actions = self.propose(model, z, memory, episode_start, generator)
        first = candidates = self.select(Candidates(actions, self.value(model, z, actions)))
        goes_on = True
        while goes_on:
            before = candidates
            candidates = self.search(model, z, before, self.direction(model, z, before.actions))
            goes_on = clock.allows_another() and (is_tracing() or gained(before, candidates))
        return self.choose(first, candidates, clock.iterations, deterministic, generator)

    # ------------------------------------------------------------------ candidates

    def propose(
        self,
        model: WorldModel,
        z: Tensor,
        memory: Memory,
        episode_start: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Candidates ``[L, B, N, A]``: roll-outs of the policy, of its mean first, and the previous plan last."""
        noise = self.draw(model, z, generator)
        latents = z.unsqueeze(1)
        actions: list[Tensor] = []
        for h, noise_h in enumerate(noise):
            roll_outs = model.policy(latents).expand(-1, noise.shape[2]).at(noise_h)
            actions.append(self.with_previous(h, roll_outs, memory, episode_start))
            if h + 1 < len(noise):
                latents = model.next(latents, actions[-1])
        return torch.stack(actions)

    def draw(self, model: WorldModel, z: Tensor, generator: torch.Generator | None) -> Tensor:
        """Noise of the policy's roll-outs ``[L, B, N, A]``; 0 for its mean, first, and the previous plan, last."""
        length, batch = self.plan_length(model), len(z)
        noise = normal(z, generator, length, batch, self.samples + self.wide, model.action_dim)
        scale = torch.ones(self.samples + self.wide, 1, dtype=z.dtype, device=z.device)
        scale[self.samples :] = self.wide_scale
        return torch.nn.functional.pad(noise * scale, (0, 0, 1, 1))

    def with_previous(self, h: int, roll_outs: Tensor, memory: Memory, episode_start: Tensor) -> Tensor:
        """Actions ``[B, N, A]`` of step h of a plan, the last one from the previous plan.

        What that plan lacks at its end, and at an episode's start all of it, the policy's mean adds.
        """
        plan = memory["plan"]
        if h + 1 >= plan.shape[1]:
            return roll_outs
        previous = plan[:, h + 1].to(roll_outs.dtype)
        last = torch.where(episode_start[:, None], roll_outs[:, -1], previous)
        return torch.cat((roll_outs[:, :-1], last.unsqueeze(1)), 1)

    def select(self, candidates: Candidates) -> Candidates:
        """The ``improved`` best candidates."""
        if candidates.value.shape[1] <= self.improved:
            return candidates
        best = self.best(candidates.value)
        return Candidates(take(candidates.actions, best), candidates.value.gather(1, best))

    def best(self, value: Tensor) -> Tensor:
        """Numbers ``[B, improved]`` of the candidates with the largest of the predicted returns ``[B, N]``."""
        return value.topk(self.improved, 1).indices

    # ----------------------------------------------------------------- improvement

    def value(self, model: WorldModel, z: Tensor, actions: Tensor) -> Tensor:
        """Predicted return ``[B, N]`` of ``actions [L, B, N, A]``, the worst where it is not a number."""
        objective = planning_objective(
            model, z, actions[: self.horizon], lambda last: actions[-1], return_lambda=self.return_lambda
        )
        return worst_if_not_a_number(objective.value)

    def direction(self, model: WorldModel, z: Tensor, actions: Tensor) -> Tensor:
        """Gradient of the predicted return, its largest component 1, shaped as ``actions``."""
        actions = actions.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.value(model, z, actions).sum(), actions)
        return normalized(gradient)

    def search(self, model: WorldModel, z: Tensor, candidates: Candidates, direction: Tensor) -> Candidates:
        """Move each candidate by the step after which its predicted return is largest, if that is more than before."""
        batch, count = candidates.value.shape
        # Not by a tensor of steps: a CUDA graph can't wait for one to be copied to the device.
        changes = torch.stack([step * direction for step in self.steps], 2)  # [L, B, S, N, A]
        moved = (candidates.actions.unsqueeze(2) + changes).clamp(-1, 1).flatten(2, 3)  # [L, B, S * N, A]
        actions = torch.cat((candidates.actions, moved), 2)
        values = torch.cat((candidates.value, self.value(model, z, moved)), 1)  # [B, (1 + S) * N]
        value, step = values.view(batch, -1, count).max(1)  # [B, N]
        index = step * count + torch.arange(count, device=step.device)
        return Candidates(take(actions, index), value)

    # ---------------------------------------------------------------------- choice

    def choose(
        self,
        first: Candidates,
        candidates: Candidates,
        iterations: int,
        deterministic: bool,
        generator: torch.Generator | None,
    ) -> Plan:
        """Act with the best candidate, or the weighted mean of all.

        :param first: the candidates before their improvement
        :param iterations: how often they were improved
        """
        value, best = candidates.value.max(1, keepdim=True)  # [B, 1]
        plan = take(candidates.actions, best).squeeze(2).transpose(0, 1)  # [B, L, A]
        weights = self.weights(candidates.value).unsqueeze(-1)  # [B, N, 1]
        mean = (weights * candidates.actions[0]).sum(1).clamp(-1, 1)  # [B, A]; rounding may leave the range
        spread = (weights * (candidates.actions[0] - mean.unsqueeze(1)).square()).sum(1).sqrt()
        std = spread.clamp(MIN_STD, MAX_STD)
        action = centre = plan[:, 0] if self.temperature == 0 else mean
        if not deterministic:
            noise_std = std if self.exploration_std is None else self.exploration_std
            action = (centre + noise_std * normal(centre, generator, *centre.shape)).clamp(-1, 1)
        value = value.squeeze(1)

        def describe() -> dict[str, Tensor]:
            change = (candidates.actions - first.actions).abs().amax((0, 3))  # [B, N]
            return {
                "value": value,
                "value_before": first.value.mean(1),
                "value_after": candidates.value.mean(1),
                "step": change.mean(1),
                "iterations": torch.full_like(value, iterations),
                "candidate_spread": spread.mean(1),
            }

        return Plan(action, {"plan": plan}, centre, std, value, Described(describe))

    def weights(self, value: Tensor) -> Tensor:
        """Weights ``[B, N]`` of candidates from their predicted returns, 0 where these are not numbers.

        A temperature of 0 counts as 0.3 here.
        """
        scale = (self.temperature or 0.3) * deviation_of_numbers(value).clamp_min(1e-9)
        return torch.softmax((value - value.amax(1, keepdim=True)) / scale, 1)


class Clock:
    """How often a decision may still improve its candidates."""

    def __init__(self, planner: AdaptivePlanner):
        self._most, self._budget = planner.iterations, planner.budget_ms
        self._began = self._round_began = time.perf_counter()
        self.iterations = 0

    def allows_another(self) -> bool:
        """Whether there may be another iteration after the one that has ended now."""
        self.iterations += 1
        if self._budget is None:
            return self.iterations < self._most
        now = time.perf_counter()
        this_round, self._round_began = now - self._round_began, now
        return 1e3 * (now - self._began + this_round) < self._budget


def gained(before: Candidates, after: Candidates) -> bool:
    """Whether an iteration improved a candidate. Where none gained, another iteration changes nothing."""
    return bool((after.value > before.value).any())


def worst_if_not_a_number(value: Tensor) -> Tensor:
    """Predicted returns that are never chosen where they are not numbers."""
    smallest = torch.finfo(value.dtype).min
    return value.nan_to_num(smallest, smallest, smallest)


def deviation_of_numbers(value: Tensor) -> Tensor:
    """Standard deviation ``[B, 1]`` of predicted returns ``[B, N]``, but for those that are not numbers."""
    numbers = value > torch.finfo(value.dtype).min
    share = numbers.to(value.dtype).mean(1, keepdim=True).clamp_min(1e-9)
    mean = (value * numbers).mean(1, keepdim=True) / share
    return torch.where(numbers, value, mean).std(1, keepdim=True, correction=0) / share.sqrt()


def normalized(gradient: Tensor) -> Tensor:
    """A gradient ``[L, B, N, A]`` whose largest component is 1, candidate by candidate; 0 where there is none."""
    gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
    return gradient / gradient.abs().amax((0, 3), keepdim=True).clamp_min(_SMALLEST_GRADIENT)
