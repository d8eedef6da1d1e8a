"""Episodes that don't end by themselves."""

import gymnasium as gym
import numpy as np
import pytest

from dream_agents.evaluation import EndlessEpisodeError, evaluate, make_evaluation_env, record_video
from dream_agents.evaluation.environments import check_length
from dream_agents.evaluation.training_log import TrainingLog
from dream_agents.runs import RunSettings


class Endless(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, False, False, {}

    def render(self):
        return np.zeros((16, 16, 3), np.uint8)


class SaysSo(Endless):
    metadata = {"render_modes": ["rgb_array"], "episodic": False}  # noqa: RUF012


def test_a_task_that_says_that_it_never_ends_is_refused(forward):
    with pytest.raises(
        EndlessEpisodeError, match=r'never end, and have no limit; give one: env_kwargs=."max_episode'
    ):
        evaluate(forward, SaysSo, episodes=1)
    with pytest.raises(EndlessEpisodeError, match="TimeLimit"):
        evaluate(forward, make_evaluation_env(SaysSo, 2), episodes=2)


def test_a_limit_is_all_that_it_takes(forward):
    result = evaluate(forward, lambda: gym.wrappers.TimeLimit(SaysSo(), 7), episodes=2)
    assert result.returns == (7.0, 7.0)


@pytest.mark.filterwarnings("ignore:an episode has not ended")
def test_one_that_never_does_is_given_up(forward, monkeypatch):
    monkeypatch.setattr("dream_agents.evaluation.environments.LONGEST_EPISODE", 50)
    with pytest.raises(EndlessEpisodeError, match="has not ended after 50 decisions"):
        evaluate(forward, Endless, episodes=2)


def test_the_limit_is_asked_for_before_it_is_given_up():
    with pytest.warns(UserWarning, match="given up after 10000"):
        check_length(None, 1000)
    check_length(None, 999)
    check_length(2000, 10**6)


def test_videos(forward, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(EndlessEpisodeError):
        record_video(forward, tmp_path / "a.mp4", SaysSo)
    assert record_video(forward, tmp_path / "a.mp4", SaysSo, max_decisions=3) == 3


def test_a_run_asks_before_it_learns(swinger, tmp_path):
    swinger.set_env(
        gym.wrappers.TransformObservation(Spinning(), lambda obs: obs, Spinning.observation_space)
    )
    log = TrainingLog(tmp_path, RunSettings("tests/ShortPendulum-v0", eval_every=8, eval_episodes=1))
    with pytest.raises(EndlessEpisodeError):
        swinger.learn(16, log)
    assert swinger.num_timesteps == 0


class Spinning(Endless):
    """Has the spaces of a pendulum."""

    observation_space = gym.spaces.Box(
        np.array([-1, -1, -8], np.float32), np.array([1, 1, 8], np.float32), dtype=np.float32
    )
    action_space = gym.spaces.Box(-2, 2, (1,), np.float32)
    metadata = {"render_modes": ["rgb_array"], "episodic": False}  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}
