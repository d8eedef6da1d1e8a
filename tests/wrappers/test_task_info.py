"""Frames, limits and sizes of environments; action repeat."""

import gymnasium
import pytest

from dream_agents import make_env, make_vec_env
from dream_agents.registry import suites
from dream_agents.wrappers import ActionRepeat, EnvInfo, TaskInfo, describe, task_info


class Counter(gymnasium.Env):
    """The reward of the n-th frame is n; ends after `end` frames."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 40}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0, 100, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, end=100, truncate=False):
        self.end, self.truncate = end, truncate

    def reset(self, *, seed=None, options=None):
        self.frame = 0
        return 0, {}

    def step(self, action):
        self.frame += 1
        over = self.frame == self.end
        return (
            self.frame,
            self.frame,
            over and not self.truncate,
            over and self.truncate,
            {"frame": self.frame},
        )


def test_rewards_are_summed_over_the_frames():
    env = ActionRepeat(Counter(), 3)
    env.reset()
    assert env.step(0) == (3, 1 + 2 + 3, False, False, {"frame": 3})
    assert env.step(0) == (6, 4 + 5 + 6, False, False, {"frame": 6})


@pytest.mark.parametrize("truncate", [True, False])
def test_repeat_stops_where_the_episode_ends(truncate):
    env = ActionRepeat(Counter(end=2, truncate=truncate), 3)
    env.reset()
    assert env.step(0) == (2, 1 + 2, not truncate, truncate, {"frame": 2})


def test_repeats_multiply_and_slow_the_film_down():
    inner = Counter()
    env = ActionRepeat(ActionRepeat(inner, 2), 5)
    assert task_info(env).action_repeat == 10
    assert env.metadata["render_fps"] == 4
    assert inner.metadata == {"render_modes": ["rgb_array"], "render_fps": 40}


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("walker-walk", TaskInfo(2, 500, episodic=False)),
        ("dmc_lqr-lqr_2_1-v0", TaskInfo(2, 500, episodic=True)),
        ("Pendulum-v1", TaskInfo(1, 200, episodic=True)),
    ],
)
def test_task_info(id, expected):
    assert task_info(make_env(id)) == expected
    assert task_info(make_vec_env(id, 2)) == expected


def test_task_info_of_an_environment_without_limit_or_metadata():
    assert task_info(Counter()) == TaskInfo(1, None, episodic=True)
    assert task_info(make_vec_env(Counter)) == TaskInfo(1, None, episodic=True)
    assert task_info(gymnasium.wrappers.TimeLimit(Counter(), 9)).max_episode_steps == 9


def test_describe_a_task_without_making_it(monkeypatch):
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: pytest.fail("made it"))
    assert describe("cup-catch") == EnvInfo(
        id="dmc_ball_in_cup-catch-v0",
        suite="dmc",
        observation_size=8,
        action_size=2,
        max_episode_steps=500,
        action_repeat=2,
        episodic=False,
        aliases=(
            "cup-catch",
            "cup_catch",
            "ball_in_cup-catch",
            "ball_in_cup_catch",
            "dmc_cup-catch-v0",
            "dm_control/ball_in_cup-catch-v0",
        ),
    )


def test_describe_another_gymnasium_id():
    info = describe("Pendulum-v1")
    assert (info.suite, info.observation_size, info.action_size) == ("gymnasium", 3, 1)
    assert (info.max_episode_steps, info.action_repeat, info.aliases) == (200, 1, ())


def test_gymnasium_suite_lists_other_peoples_ids_only():
    ids = suites.get("gymnasium").ids()
    assert "Pendulum-v1" in ids
    assert not [id for id in ids if id.startswith("dmc_")]
