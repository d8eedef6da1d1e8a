"""The tasks: dm_control's, with other rewards. Observations and, but for the ball's, starts are dm_control's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from dm_control.rl import control
from dm_control.suite import ball_in_cup, cheetah, hopper, pendulum, reacher, walker

from dream_agents.wrappers.dmcontrol_custom import models, rewards

_FRAMES = 1000


class BackwardsWalker(walker.PlanarWalker):
    """Walk or run backwards."""

    def get_reward(self, physics: Any) -> float:
        """Return the reward of one frame."""
        return rewards.backwards_walker(
            physics.torso_height(), physics.torso_upright(), physics.horizontal_velocity(), self._move_speed
        )


class BackwardsCheetah(cheetah.Cheetah):
    """Run backwards."""

    def get_reward(self, physics: Any) -> float:
        """Return the reward of one frame."""
        return rewards.backwards_cheetah(physics.speed())


class OneFootedCheetah(cheetah.Cheetah):
    """Run on one foot, the other up in the air.

    :param raised_foot: ``"ffoot"`` (in front) or ``"bfoot"`` (at the back)
    :param random: a seed or a `numpy.random.RandomState`
    """

    def __init__(self, raised_foot: str, random: Any = None) -> None:
        super().__init__(random=random)
        self._raised_foot = raised_foot

    def get_reward(self, physics: Any) -> float:
        """Return the reward of one frame."""
        torso, foot = physics.named.data.xpos[["torso", self._raised_foot], "z"]
        return rewards.one_footed_cheetah(torso, foot, physics.speed())


class JumpingCheetah(cheetah.Cheetah):
    """Jump, or stand up, in place."""

    def get_reward(self, physics: Any) -> float:
        """Return the reward of one frame."""
        torso, *feet = physics.named.data.xpos[["torso", "ffoot", "bfoot"], "z"]
        return rewards.jumping_cheetah(torso, feet, physics.speed())


class BackwardsHopper(hopper.Hopper):
    """Hop backwards."""

    def get_reward(self, physics: Any) -> float:
        """Return the reward of one frame."""
        return rewards.backwards_hopper(physics.height(), physics.speed())


class SpinningBall(ball_in_cup.BallInCup):
    """Swing the ball round the cup."""

    def initialize_episode(self, physics: Any) -> None:
        """Start with the ball in the cup, or in one episode of ten, anywhere that dm_control would put it."""
        anywhere = self.random.uniform() < 0.1
        super().initialize_episode(physics)
        while not (anywhere or physics.in_target()):
            super().initialize_episode(physics)

    def get_reward(self, physics: Any) -> float:
        """Return the reward of one frame."""
        velocity = physics.named.data.qvel[["ball_x", "ball_z"]]
        return rewards.spinning_ball(
            math.hypot(*physics.ball_to_target()), math.hypot(*velocity), bool(physics.in_target())
        )


class SpinningPendulum(pendulum.SwingUp):
    """Turn the pendulum fast, either way."""

    def get_reward(self, physics: Any) -> float:
        """Return the reward of one frame."""
        return rewards.spinning_pendulum(physics.angular_velocity().item())


class Recipe(NamedTuple):
    """What an environment is made of."""

    physics: Callable[[], Any]
    """Makes the simulator."""
    task: Callable[..., Any]
    """Makes the task, given ``random``."""
    control_timestep: float
    """Seconds a frame."""

    def make(
        self, environment_kwargs: Mapping[str, Any], random: Any = None, time_limit: float | None = None
    ) -> Any:
        """Make the environment.

        :param environment_kwargs: of `dm_control.rl.control.Environment`
        :param random: a seed or a `numpy.random.RandomState`
        :param time_limit: seconds an episode; by default 1000 frames
        """
        return control.Environment(
            self.physics(),
            self.task(random=random),
            time_limit=_FRAMES * self.control_timestep if time_limit is None else time_limit,
            control_timestep=self.control_timestep,
            **environment_kwargs,
        )


_cheetah = partial(Recipe, models.make_cheetah, control_timestep=0.01)
_walker = partial(Recipe, models.make_walker, control_timestep=0.025)
_reacher = partial(Recipe, models.make_three_link_reacher, control_timestep=0.02)

TASKS: dict[tuple[str, str], Recipe] = {
    ("ball_in_cup", "spin"): Recipe(models.make_ball_in_cup, SpinningBall, 0.02),
    ("cheetah", "jump"): _cheetah(JumpingCheetah),
    ("cheetah", "run_back"): _cheetah(partial(OneFootedCheetah, raised_foot="ffoot")),
    ("cheetah", "run_backwards"): _cheetah(BackwardsCheetah),
    ("cheetah", "run_front"): _cheetah(partial(OneFootedCheetah, raised_foot="bfoot")),
    ("hopper", "hop_backwards"): Recipe(models.make_hopper, partial(BackwardsHopper, hopping=True), 0.02),
    ("pendulum", "spin"): Recipe(models.make_pendulum, SpinningPendulum, 0.02),
    ("reacher", "three_easy"): _reacher(partial(reacher.Reacher, target_size=0.05)),
    ("reacher", "three_hard"): _reacher(partial(reacher.Reacher, target_size=0.015)),
    ("walker", "run_backwards"): _walker(partial(BackwardsWalker, move_speed=8)),
    ("walker", "walk_backwards"): _walker(partial(BackwardsWalker, move_speed=1)),
}
"""How each task is made, by domain and name."""
