"""Environments that notice who moves them and what is not finite."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from dream_agents.wrappers.watched import NotFiniteError, watch, watched


class Scripted(gym.Env):
    """Gives what it is told: a value by (episode, step), of the reward or an observation."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, script=None, kind="box", length=5):
        self.script, self.kind, self.length, self.episode = script or {}, kind, length, -1
        box = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = box if kind == "box" else spaces.Dict({"arm": box, "leg": box})

    def observe(self):
        value = self.script.get((self.episode, self.t, "obs"), self.t)
        obs = np.array([self.episode, value], np.float64)
        return obs if self.kind == "box" else {"arm": np.zeros(2), "leg": obs}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action):
        self.t += 1
        reward = self.script.get((self.episode, self.t, "reward"), 1.0)
        return self.observe(), reward, self.t >= self.length, False, {}


def make(*scripts, not_finite="stop", **kwargs):
    scripts = scripts or ({},)
    return watch(DummyVecEnv([lambda s=s: Scripted(s, **kwargs) for s in scripts]), not_finite)


def step(env):
    return env.step(np.zeros((env.num_envs, 1), np.float32))


MOVES = {
    "reset of what is learned in": lambda env, base: env.reset(),
    "step of what is learned in": lambda env, base: step(env),
    "reset of what was given": lambda env, base: base.reset(),
    "step of what was given": lambda env, base: step(base),
    "reset of one by name": lambda env, base: env.env_method("reset", indices=[0]),
    "the same of what was given": lambda env, base: base.env_method("reset", indices=[0]),
}


class TestMovements:
    @pytest.mark.parametrize("move", MOVES)
    @pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
    def test_whoever_moves_them_is_noticed(self, kind, move):
        base = kind([Scripted, Scripted])
        env = watch(base)
        env.reset()
        before = watched(env).last_movement
        assert watched(env).last_movement == before
        env.get_attr("length")
        assert watched(env).last_movement == before
        MOVES[move](env, base)
        assert watched(env).last_movement != before
        env.close()

    def test_the_environment_itself(self):
        raw = Scripted()
        limited = gym.wrappers.TimeLimit(raw, 3)
        env = watch(DummyVecEnv([lambda: limited]))
        env.reset()
        for move in (raw.reset, limited.reset, lambda: raw.step(None), lambda: limited.step(None)):
            before = watched(env).last_movement
            move()
            assert watched(env).last_movement != before

    def test_a_copy_moves_itself_alone(self):
        raw = Scripted()
        env = watch(DummyVecEnv([lambda: raw]))
        env.reset()
        before = watched(env).last_movement
        for other in (copy.deepcopy(raw), pickle.loads(pickle.dumps(raw))):
            episode = raw.episode
            other.reset()
            assert (raw.episode, other.episode) == (episode, episode + 1)
        assert watched(env).last_movement == before

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
    def test_a_copy_is_watched_too(self, copied):
        raw = Scripted({(0, 1, "obs"): np.nan})
        first = watch(DummyVecEnv([lambda: raw]))
        other = copied(raw)
        env = watch(DummyVecEnv([lambda: other]))
        for movement in (lambda: other.reset(), lambda: other.step(None)):
            before = watched(env).last_movement
            movement()
            assert watched(env).last_movement != before
        again = copied(first)
        assert watched(again) is not watched(first)
        again.reset()
        with pytest.raises(NotFiniteError, match="environment 0 gave observation"):
            again.step(np.zeros((1, 1), np.float32))

    def test_environments_never_look_like_others_that_were_there_before(self):
        assert watched(make()).last_movement != watched(make()).last_movement

    def test_environments_stay_what_they_are_and_are_watched_once(self):
        base = DummyVecEnv([Scripted])
        assert watch(base) is base
        env = VecNormalize(VecFrameStack(base, 2))
        assert watch(env) is env
        assert env.venv.venv is base
        found = watched(env)
        assert watched(watch(base, "end")) is found
        assert found.not_finite == "end"


NUMBERS = [np.nan, np.inf, -np.inf, 1e300]


class TestNotFinite:
    @pytest.mark.parametrize("value", NUMBERS)
    @pytest.mark.parametrize(
        ("what", "kind", "named"),
        [
            ("reward", "box", "reward="),
            ("obs", "box", r"observation\[1\]="),
            ("obs", "dict", r"observation\['leg'\]\[1\]="),
        ],
    )
    def test_environment_and_number_are_named(self, what, kind, named, value):
        env = make({}, {(0, 3, what): value}, kind=kind)
        env.reset()
        step(env), step(env)
        with pytest.raises(NotFiniteError, match=rf"environment 1 gave {named}.* in step 3 of its episode"):
            step(env)

    @pytest.mark.parametrize("not_finite", ["stop", "end"])
    def test_finite_numbers_pass_untouched(self, not_finite):
        env, plain = make({}, {}, not_finite=not_finite), DummyVecEnv([Scripted, Scripted])
        assert (env.reset() == plain.reset()).all()
        for _ in range(12):
            ours, theirs = step(env), step(plain)
            for mine, other in zip(ours[:3], theirs[:3], strict=True):
                np.testing.assert_array_equal(mine, other)
            assert [sorted(info) for info in ours[3]] == [sorted(info) for info in theirs[3]]

    @pytest.mark.parametrize("what", ["reward", "obs"])
    def test_the_episode_ends_before_it_if_that_is_asked_for(self, what):
        env = make({}, {(0, 3, what): np.nan}, not_finite="end")
        env.reset()
        step(env), step(env)
        obs, rewards, dones, infos = step(env)
        assert dones.tolist() == [False, True]
        assert rewards.tolist() == [1, 0]
        np.testing.assert_array_equal(obs, [[0, 3], [1, 0]])  # the other one goes on
        assert "invalid_step" not in infos[0]
        assert "nan is not finite" in infos[1]["invalid_step"]
        assert infos[1]["TimeLimit.truncated"]
        np.testing.assert_array_equal(infos[1]["terminal_observation"], [0, 2])

    def test_at_an_episodes_last_step(self):
        env = make({(0, 5, "obs"): np.nan}, not_finite="end")
        env.reset()
        for _ in range(4):
            step(env)
        obs, _, dones, infos = step(env)
        assert dones.all() and "a last observation[1]=nan" in infos[0]["invalid_step"]
        np.testing.assert_array_equal(obs, [[1, 0]])
        np.testing.assert_array_equal(infos[0]["terminal_observation"], [0, 4])
        env = make({(0, 5, "obs"): np.nan})
        env.reset()
        for _ in range(4):
            step(env)
        with pytest.raises(NotFiniteError, match="a last observation"):
            step(env)

    def test_first_observations(self):
        with pytest.raises(
            NotFiniteError, match=r"environment 0 gave observation\[1\]=nan when it was reset"
        ):
            make({(0, 0, "obs"): np.nan}).reset()
        env = make({(0, 0, "obs"): np.nan, (2, 0, "obs"): np.inf}, not_finite="end")
        np.testing.assert_array_equal(env.reset(), [[1, 0]])
        for _ in range(5):
            obs, *_ = step(env)
        np.testing.assert_array_equal(obs, [[3, 0]])
        with pytest.raises(NotFiniteError, match="when it was reset"):
            make({(n, 0, "obs"): np.nan for n in range(99)}, not_finite="end").reset()

    def test_nothing_reaches_statistics_that_a_wrapper_keeps(self):
        env = watch(VecNormalize(DummyVecEnv([lambda: Scripted({(0, 3, "obs"): np.nan})])))
        env.reset()
        step(env), step(env)
        with pytest.raises(NotFiniteError):
            step(env)
        assert np.isfinite(env.obs_rms.mean).all()

    def test_in_processes(self):
        env = watch(SubprocVecEnv([lambda: Scripted({(0, 2, "reward"): np.nan}), Scripted]), "end")
        env.reset()
        step(env)
        obs, _, dones, infos = step(env)
        assert dones.tolist() == [True, False]
        assert "reward=nan" in infos[0]["invalid_step"]
        np.testing.assert_array_equal(obs, [[1, 0], [0, 2]])
        env.close()

    def test_unknown_option(self):
        with pytest.raises(ValueError, match='not_finite=\'ignore\' is not known; choose "stop" or "end"'):
            make(not_finite="ignore")
