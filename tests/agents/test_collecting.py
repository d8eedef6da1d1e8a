"""What is learned from happened, whatever callbacks and users do with the environments."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dream_agents import SAC
from dream_agents.wrappers.watched import NotFiniteError


class Counter(gym.Env):
    """Observes (number of the episode, step); episodes have 20 steps. The reward is the step's number."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    episodes = 0

    def __init__(self, bad=None):
        self.bad, self.steps = bad, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Counter.episodes += 1
        self.episode, self.t = Counter.episodes, 0
        return np.array([self.episode, 0], np.float32), {}

    def step(self, action):
        self.t, self.steps = self.t + 1, self.steps + 1
        reward = np.nan if self.steps == self.bad else float(self.t)
        return np.array([self.episode, self.t], np.float32), reward, False, self.t >= 20, {}


class Do(BaseCallback):
    """Does something at a decision."""

    def __init__(self, at, what):
        super().__init__()
        self.at, self.what = at, what

    def _on_step(self):
        return self.what(self.model) is not False if self.num_timesteps == self.at else True


def steps_of(agent):
    """Every stored step as rows (episode, step, next episode, next step, reward)."""
    buffer = agent.replay_buffer
    if isinstance(agent, SAC):
        used = buffer.buffer_size if buffer.full else buffer.pos
        parts = (buffer.observations, buffer.next_observations, buffer.rewards[..., None])
        return np.concatenate([part[:used].reshape(used * buffer.n_envs, -1) for part in parts], 1)
    rows = []
    for env in range(buffer.n_envs):
        used = int(buffer.filled[env])
        obs, ids = buffer.observations[:used, env], buffer.episode_ids[:used, env]
        goes_on = ids[1:] == ids[:-1]
        rewards = buffer.rewards[: used - 1, env, None]
        rows.append(np.concatenate((obs[:-1], obs[1:], rewards), 1)[goes_on])
    return np.concatenate(rows)


def assert_happened(agent, at_least):
    steps = steps_of(agent)
    assert len(steps) >= at_least
    np.testing.assert_array_equal(steps[:, 2], steps[:, 0])
    np.testing.assert_array_equal(steps[:, 3], steps[:, 1] + 1)
    np.testing.assert_array_equal(steps[:, 4], steps[:, 3])


def make_sac(env, **kwargs):
    options = {"device": "cpu", "seed": 0, "policy_kwargs": {"net_arch": [8]}, "buffer_size": 500}
    return SAC(env, **{**options, "learning_starts": 10**6, **kwargs})


@pytest.fixture(params=["world model", "SAC"])
def make(request, make_dream):
    if request.param == "SAC":
        return make_sac
    return lambda env, **kwargs: make_dream(env, **{"planner": "policy", "learning_starts": 10**6, **kwargs})


def go_on(agent, decisions=60):
    return agent.learn(decisions, reset_num_timesteps=False)


@pytest.mark.parametrize("at", [1, 27, 40])
class TestBetweenTwoLearns:
    def test_stopped_by_a_callback(self, make, at):
        agent = make(Counter()).learn(500, callback=Do(at, lambda model: False))
        assert agent.num_timesteps == at
        before = agent.env.unwrapped.envs[0].unwrapped.episode
        go_on(agent)
        assert_happened(agent, at + 60 - 2)
        assert (
            agent.env.unwrapped.envs[0].unwrapped.episode == before + (at % 20 + 60) // 20
        )  # it goes on where it was

    def test_evaluated(self, make, at):
        agent = make(Counter()).learn(at)
        evaluate_policy(agent, agent.get_env(), 2, warn=False)
        assert_happened(go_on(agent), at + 50)

    @pytest.mark.parametrize("how", ["agent's", "given", "vectorized"])
    def test_reset_by_hand(self, make, at, how):
        raw = Counter()
        base = DummyVecEnv([lambda: raw])
        agent = make(base if how == "vectorized" else raw).learn(at)
        {"agent's": agent.get_env(), "given": raw, "vectorized": base}[how].reset()
        assert_happened(go_on(agent), at + 50)

    def test_an_error_in_a_callback(self, make, at):
        def fail(model):
            raise RuntimeError("on purpose")

        agent = make(Counter())
        with pytest.raises(RuntimeError, match="on purpose"):
            agent.learn(500, callback=Do(at, fail))
        assert_happened(go_on(agent), at + 50)


class TestWhileLearning:
    def test_evaluated_by_a_callback(self, make):
        agent = make(Counter())
        callback = EvalCallback(agent.get_env(), n_eval_episodes=1, eval_freq=7, verbose=0, warn=False)
        assert_happened(agent.learn(90, callback=callback), 70)

    def test_behind_vec_normalize(self, make):
        """Its last observations and rewards are then the evaluation's."""
        env = VecNormalize(DummyVecEnv([Counter, Counter]))
        agent = make(env)
        callback = EvalCallback(agent.get_env(), n_eval_episodes=1, eval_freq=7, verbose=0, warn=False)
        assert_happened(agent.learn(90, callback=callback), 60)

    def test_moved_by_a_step(self, make):
        agent = make(Counter(), train_freq=(1, "episode"))
        agent.learn(90, callback=Do(33, lambda model: model.get_env().step(np.zeros((1, 1)))))
        assert_happened(agent, 80)

    def test_callbacks_find_the_step_stored(self, make):
        agent = make(Counter())
        agent.learn(30, callback=Do(25, lambda model: assert_happened(model, 25 - 3)))

    def test_undisturbed_learning_loses_nothing(self, make):
        agent = make(Counter()).learn(100)
        assert_happened(agent, 99)


class TestNotFinite:
    def test_learning_stops_with_the_place(self, make):
        agent = make(Counter(bad=33))
        with pytest.raises(
            NotFiniteError, match=r'at decision 33, environment 0 gave reward=nan.*not_finite="end"'
        ):
            agent.learn(90)
        assert_happened(agent, 30)
        assert_happened(go_on(agent), 80)

    def test_no_checkpoint_holds_it(self, make, tmp_path):
        agent = make(VecNormalize(DummyVecEnv([lambda: Counter(bad=33)])))
        with pytest.raises(NotFiniteError):
            agent.learn(90)
        folder = agent.save_checkpoint(tmp_path)
        for array in np.load(folder / "replay.npz").values():
            assert np.isfinite(array).all()
        loaded = type(agent).load_checkpoint(tmp_path, env=VecNormalize(DummyVecEnv([Counter])))
        assert np.isfinite(loaded.env.obs_rms.mean).all()

    @pytest.mark.parametrize("n_envs", [1, 2])
    def test_episodes_end_instead(self, make, n_envs):
        bad = iter([33, 17])
        agent = make(DummyVecEnv([lambda: Counter(bad=next(bad))] * n_envs), not_finite="end").learn(120)
        assert agent.num_timesteps == 120
        assert_happened(agent, 120 - 3 * n_envs)

    def test_where_no_episode_can_begin_it_is_not_offered_again(self, make):
        class Broken(Counter):
            resets = 0

            def reset(self, *, seed=None, options=None):
                observation, info = super().reset(seed=seed, options=options)
                self.resets += 1
                return np.full_like(observation, np.nan if self.resets > 1 else 0), info

        with pytest.raises(NotFiniteError, match=r"when it was reset.*Mend the environment$"):
            make(DummyVecEnv([Broken]), not_finite="end").learn(20)

    def test_n_step_returns_stop_there(self):
        """A return over several steps has no step that was left out, nor one of the next episode."""
        agent = make_sac(Counter(bad=33), not_finite="end", n_steps=3, gamma=1.0).learn(60)
        go_on_after_reset = agent.replay_buffer._get_samples(np.arange(agent.replay_buffer.pos))
        first = go_on_after_reset.observations[:, 1]
        last = go_on_after_reset.next_observations[:, 1]
        expected = [sum(range(int(a) + 1, int(b) + 1)) for a, b in zip(first, last, strict=True)]
        assert go_on_after_reset.rewards[:, 0].tolist() == expected
        assert (go_on_after_reset.observations[:, 0] == go_on_after_reset.next_observations[:, 0]).all()

    def test_the_option_is_saved_and_can_be_changed(self, make, tmp_path):
        make(Counter(), not_finite="end").save(tmp_path / "agent")
        kind = type(make(Counter()))
        for given, expected in (({}, "end"), ({"not_finite": "stop"}, "stop")):
            agent = kind.load(tmp_path / "agent", env=Counter(bad=5), **given)
            assert agent.task.not_finite == expected
            if expected == "end":
                agent.learn(20)
            else:
                with pytest.raises(NotFiniteError):
                    agent.learn(20)


def test_frames_of_an_episode_that_was_left_are_not_stacked(make_dream):
    """A stack that is put together again has no frame of another episode."""

    class Camera(gym.Env):
        observation_space = spaces.Box(0, 255, (2, 64, 64), np.uint8)
        action_space = spaces.Box(-1, 1, (1,), np.float32)
        metadata = {"render_modes": [], "frame_stack": 2}  # noqa: RUF012
        value = 0

        def observe(self):
            Camera.value += 1
            self.frames = [*self.frames[-1:], np.full((1, 64, 64), Camera.value, np.uint8)][-2:]
            return np.concatenate([self.frames[0], self.frames[-1]])

        def reset(self, *, seed=None, options=None):
            self.frames = []
            return self.observe(), {}

        def step(self, action):
            return self.observe(), 0.0, False, False, {}

    agent = make_dream(Camera(), planner="policy", obs_type="pixels", learning_starts=10**6)
    agent.learn(12)
    agent.get_env().reset()
    go_on(agent, 12)
    values = agent.replay_buffer.sample(200).observations[..., 0, 0].int()  # [L + 1, B, 2]
    assert ((values[..., 1] - values[..., 0]) <= 1).all()
    assert (values[1:, :, 1] == values[:-1, :, 1] + 1).all()
