"""What the tasks reward, as functions of what the simulator measures.

Heights and distances are in metres, velocities in metres a second along x, where the robots look. The bounds
are TD-MPC2's (Hansen et al., 2024). Its linear tolerances all reach 0 where the quantity is 0, hence
`ramp`.
"""

from __future__ import annotations

from collections.abc import Sequence


def ramp(x: float, enough: float) -> float:
    """Return 0 for negative `x`, 1 from `enough` on, and ``x / enough`` between."""
    return min(max(x / enough, 0.0), 1.0)


def high(height: float, enough: float) -> float:
    """Return 1 from the height `enough` on; below it a Gaussian, 0.1 at half that height."""
    missing = max(enough - height, 0.0) / (enough / 2)
    return float(0.1 ** (missing * missing))


def backwards_walker(height: float, upright: float, velocity: float, speed: float) -> float:
    """Reward an upright torso that moves backwards: walker's own reward with the velocity turned round.

    :param height: of the torso, 1.2 m is enough
    :param upright: cosine of the torso's angle to the vertical
    :param velocity: of the centre of mass
    :param speed: backwards, that is fully rewarded
    """
    standing = (3 * high(height, 1.2) + (1 + upright) / 2) / 4
    return standing * (5 * ramp(-velocity, speed) + 1) / 6


def backwards_cheetah(velocity: float) -> float:
    """Reward running backwards, up to 8 m/s."""
    return ramp(-velocity, 8.0)


def one_footed_cheetah(torso: float, raised_foot: float, velocity: float) -> float:
    """Reward running forwards, up to 6 m/s, with torso and one foot up at 1.2 m.

    :param torso: height of the torso's middle
    :param raised_foot: height of the ankle of the foot that should not touch the ground
    :param velocity: of the centre of mass
    """
    up = (3 * high(raised_foot, 1.2) + 2 * high(torso, 1.2)) / 5
    return up * (5 * ramp(velocity, 6.0) + 1) / 6


def jumping_cheetah(torso: float, feet: Sequence[float], velocity: float) -> float:
    """Reward torso and feet up at 1.2 m, and staying in place: below 0.5 m/s, and nothing from 1 m/s on.

    :param torso: height of the torso's middle
    :param feet: heights of the ankles; each is averaged with the torso's
    :param velocity: of the centre of mass
    """
    up = sum(high((torso + foot) / 2, 1.2) for foot in feet) / len(feet)
    in_place = ramp(1 - abs(velocity), 0.5)
    return (5 * up + in_place) / 6


def backwards_hopper(height: float, velocity: float) -> float:
    """Reward hopping backwards, up to 1 m/s, where dm_control's hopper is asked for 2 m/s forwards.

    :param height: of the torso over the foot; below 0.6 m (and above 2 m) nothing is rewarded
    :param velocity: of the centre of mass
    """
    standing = 0.6 <= height <= 2
    return standing * ramp(-velocity, 1.0)


def spinning_ball(distance: float, speed: float, caught: bool) -> float:
    """Reward a fast ball, up to 6 m/s, far from the cup, up to 0.5 m; nothing while it is caught.

    The string lets the ball no farther than 0.3 m from the cup's bottom, so that 1 is out of reach.

    :param distance: of the ball from the target inside the cup
    :param speed: of the ball
    :param caught: whether the ball is in the cup
    """
    return 0.0 if caught else (ramp(distance, 0.5) + 2 * ramp(speed, 6.0)) / 3


def spinning_pendulum(angular_velocity: float) -> float:
    """Reward turning, either way, up to 9 rad/s."""
    return ramp(abs(angular_velocity), 9.0)
