"""An agent's spaces are its environment's own, and it acts alike however the environment is given."""

import copy
import json
import pickle
import warnings
import zipfile

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.save_util import data_to_json, json_to_data
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from dream_agents import SAC, TDMPC2, make_env, make_vec_env
from dream_agents.evaluation import evaluate
from dream_agents.registry import suites
from dream_agents.replay.arrays import replay_arrays
from dream_agents.wrappers import NativeAction

STEPS = 6
#: ways to give or make the environment of an id
FORMS = {
    "gymnasium": lambda id, steps=STEPS: gym.make(id, max_episode_steps=steps),
    "make_env": lambda id, steps=STEPS: make_env(id, max_episode_steps=steps),
    "VecEnv of gymnasium's": lambda id, steps=STEPS: DummyVecEnv(
        [lambda: gym.make(id, max_episode_steps=steps)]
    ),
    "VecEnv of make_env's": lambda id, steps=STEPS: DummyVecEnv(
        [lambda: make_env(id, max_episode_steps=steps)]
    ),
    "make_vec_env": lambda id, steps=STEPS: make_vec_env(id, max_episode_steps=steps),
}
SUITES = [
    "dmc_cartpole-balance-v0",
    "dmc_reacher-three_easy-v0",
    "metaworld_reach-v3",
    "humanoid_h1-stand-v0",
]
NAMES = ("dmc", "metaworld", "humanoid_bench")
GYMNASIUM = ["Pendulum-v1", "HalfCheetah-v5", "Ant-v5", "BipedalWalker-v3"]


def make_sac(env="Pendulum-v1", **options):
    small = {"learning_starts": 10, "batch_size": 8, "buffer_size": 200, "seed": 0, "device": "cpu"}
    return SAC(env, **small | {"policy_kwargs": {"net_arch": [16]}} | options)


@pytest.fixture(params=["world model", "SAC"])
def make_model(request, make_dream):
    """Make an agent with a world model, and one without, tiny both."""
    return make_dream if request.param == "world model" else make_sac


def rewards(model, env):
    """Rewards of the episode of seed 3, as the float32 numbers that a VecEnv makes of them."""
    if isinstance(env, gym.Env):
        observation, _ = env.reset(seed=3)
    else:
        env.seed(3)
        observation = env.reset()
    state, found, over = None, [], False
    while not over:
        start = np.array([state is None])
        action, state = model.predict(observation, state, start, deterministic=True)
        observation, reward, over, *rest = env.step(action)
        found.append(np.float32(reward).item())
        over = bool(over) or (isinstance(env, gym.Env) and rest[0])
    return found


class TestSpaces:
    @pytest.mark.parametrize("form", FORMS)
    def test_are_the_environments_own(self, make_model, form):
        model = make_model(FORMS[form]("Pendulum-v1"))
        assert model.action_space == gym.make("Pendulum-v1").action_space
        assert model.observation_space == gym.make("Pendulum-v1").observation_space
        model.learn(30)
        assert np.abs(model.predict(np.zeros(3, np.float32))[0]).max() <= 2

    @pytest.mark.parametrize("env", ["Pendulum-v1", lambda: gym.make("Pendulum-v1")], ids=["id", "function"])
    def test_so_are_those_of_the_environments_that_it_makes(self, make_model, env):
        model = make_model(env, n_envs=2)
        for space in ("action_space", "observation_space"):
            assert getattr(model, space) == getattr(model.get_env(), space)
            assert getattr(model, space) == getattr(gym.make("Pendulum-v1"), space)

    def test_precision_is_the_environments_own(self, make_model):
        model = make_model(gym.make("HalfCheetah-v5"))
        assert model.observation_space.dtype == np.float64
        assert model.replay_buffer.observations.shape[2:] == (17,)


@pytest.mark.parametrize("id", GYMNASIUM + SUITES)
def test_returns_are_the_same_in_every_form(make_model, id):
    if id.startswith("Bipedal"):
        pytest.importorskip("Box2D")
    model = make_model(id)
    first, *others = (rewards(model, make(id)) for make in FORMS.values())
    assert len(first) == STEPS
    assert others == [first] * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "id"),
    [("world model", id) for id in GYMNASIUM + SUITES]
    + [("SAC", id) for id in GYMNASIUM + [id for suite in NAMES for id in suites.get(suite).ids()]],
)
def test_so_are_whole_episodes(make_dream, agent, id):
    """Of every environment, up to its own limit."""
    if id.startswith("Bipedal"):
        pytest.importorskip("Box2D")
    model = (make_dream if agent == "world model" else make_sac)(id)
    first, *others = (rewards(model, make(id, None)) for make in FORMS.values())
    assert others == [first] * 4


@pytest.mark.parametrize("trained_in", FORMS)
def test_it_does_not_matter_what_was_learned_in(make_model, trained_in):
    model = make_model(FORMS[trained_in]("Pendulum-v1")).learn(30)
    first, *others = (rewards(model, make("Pendulum-v1")) for make in FORMS.values())
    assert others == [first] * 4


def test_evaluate_policy_of_stable_baselines3(make_model):
    model = make_model()
    expected = sum(rewards(model, FORMS["gymnasium"]("Pendulum-v1")))
    for name, make in FORMS.items():
        env = make("Pendulum-v1")
        env = DummyVecEnv([lambda env=env: env]) if isinstance(env, gym.Env) else env
        env.seed(3)
        assert evaluate_policy(model, env, 1, warn=False)[0] == pytest.approx(expected, abs=1e-5), name


def test_actions_keep_their_units_in_other_processes(make_model):
    model = make_model()
    envs = SubprocVecEnv([lambda: make_env("Pendulum-v1", max_episode_steps=STEPS)])
    expected = rewards(model, FORMS["gymnasium"]("Pendulum-v1"))
    assert rewards(model, envs) == expected
    envs.close()


class TestOtherEnvironments:
    @pytest.mark.parametrize("saved_in", FORMS)
    @pytest.mark.parametrize("loaded_in", [*FORMS, "id"])
    def test_load_and_set_env(self, make_model, tmp_path, saved_in, loaded_in):
        model = make_model(FORMS[saved_in]("Pendulum-v1"))
        model.save(tmp_path / "model")
        env = "Pendulum-v1" if loaded_in == "id" else FORMS[loaded_in]("Pendulum-v1")
        loaded = type(model).load(tmp_path / "model", env, device="cpu")
        assert loaded.action_space == gym.make("Pendulum-v1").action_space
        expected = rewards(model, gym.make("Pendulum-v1", max_episode_steps=STEPS))
        assert rewards(loaded, make_vec_env("Pendulum-v1", max_episode_steps=STEPS)) == expected
        loaded.learn(15)
        model.set_env(FORMS[loaded_in]("Pendulum-v1") if loaded_in != "id" else "Pendulum-v1")
        model.learn(15)
        assert model.action_space.high == 2

    @pytest.mark.parametrize("form", FORMS)
    def test_precision_does_not_matter(self, make_model, tmp_path, form):
        model = make_model("HalfCheetah-v5")
        model.save(tmp_path / "model")
        type(model).load(tmp_path / "model", FORMS[form]("HalfCheetah-v5"), device="cpu").learn(12)

    @pytest.mark.parametrize("env", ["HalfCheetah-v5", lambda: make_vec_env("MountainCarContinuous-v0")])
    def test_those_that_do_not_fit_are_refused(self, make_model, tmp_path, env):
        model = make_model()
        model.save(tmp_path / "model")
        env = env if isinstance(env, str) else env()
        for attempt in (model.set_env, lambda env: type(model).load(tmp_path / "model", env)):
            with pytest.raises(ValueError, match="spaces do not match"):
                attempt(env)
        assert model.action_space.high == 2
        model.learn(12)

    def test_other_bounds_are_refused(self, make_model, walk):
        model = make_model(walk(low=-3.0, high=3.0))
        with pytest.raises(
            ValueError, match=r"Action spaces do not match: Box\(-3.0, 3.0.* != Box\(-2.0, 2.0"
        ):
            model.set_env(DummyVecEnv([lambda: walk(low=-2.0, high=2.0)]))

    @pytest.mark.parametrize("form", FORMS)
    def test_eval_callback(self, make_model, form):
        callback = EvalCallback(
            FORMS[form]("Pendulum-v1"), eval_freq=12, n_eval_episodes=1, verbose=0, warn=False
        )
        model = make_model().learn(12, callback=callback)
        assert callback.last_mean_reward < 0
        assert rewards(model, callback.eval_env) == rewards(model, FORMS["gymnasium"]("Pendulum-v1"))

    def test_evaluate(self, make_model):
        model = make_model()
        by_id = evaluate(model, episodes=2, seed=1, env_kwargs={"max_episode_steps": STEPS})
        by_function = evaluate(model, lambda: FORMS["make_env"]("Pendulum-v1"), episodes=2, seed=1)
        assert by_id.returns == by_function.returns


PARTS = {
    "dict": spaces.Dict({"b": spaces.Box(-1, 1, (2, 2)), "a": spaces.Discrete(3)}),
    "tuple": spaces.Tuple((spaces.Box(-1, 1, (2,)), spaces.MultiBinary(2))),
    "nested": spaces.Dict({"x": spaces.Dict({"y": spaces.Box(-1, 1, (2,), np.float64)})}),
    "discrete": spaces.Discrete(5),
    "matrix": spaces.Box(-5, 5, (2, 3), np.float64),
}


class Parts(gym.Env):
    """Observes samples of a space, which depend on the seed, and rewards the action."""

    action_space = spaces.Box(0.0, 4.0, (1,))

    def __init__(self, space):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(1 << 30)))
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        return self.observation_space.sample(), float(action[0]), False, False, {}


class TestObservations:
    @pytest.mark.parametrize("space", PARTS.values(), ids=PARTS)
    def test_predict_takes_what_the_environment_gives(self, make_dream, space):
        model = make_dream(gym.wrappers.TimeLimit(Parts(space), 8)).learn(30)
        for _ in range(3):
            observation = space.sample()
            own, _ = model.predict(observation, deterministic=True)
            flat = spaces.flatten(space, observation).astype(np.float32)
            flat, _ = model.predict(flat, deterministic=True)
            np.testing.assert_array_equal(own, flat)
            assert own.shape == (1,)

        own, wrapped = (gym.wrappers.TimeLimit(make(Parts(space)), 8) for make in (lambda env: env, make_env))
        assert rewards(model, own) == rewards(model, wrapped)

    @pytest.mark.parametrize("name", ["dict", "discrete", "matrix"])
    def test_sac_has_the_policy_for_it(self, name):
        model = make_sac(gym.wrappers.TimeLimit(Parts(PARTS[name]), 8)).learn(20)
        assert model.observation_space == PARTS[name]
        assert model.predict(PARTS[name].sample())[0].shape == (1,)

    def test_dictionaries_are_evaluated_in(self, make_model):
        model = make_model(gym.wrappers.TimeLimit(Parts(PARTS["dict"]), 8))
        for n_envs in (1, 2):
            result = evaluate(
                model, lambda: gym.wrappers.TimeLimit(Parts(PARTS["dict"]), 8), episodes=2, n_envs=n_envs
            )
            assert result.lengths == (8, 8)

    def test_checkpoints_hold_dictionaries(self, make_model, tmp_path):
        def make_env():
            return gym.wrappers.TimeLimit(Parts(PARTS["dict"]), 8)

        model = make_model(make_env(), learning_starts=15).learn(25)
        model.save_checkpoint(tmp_path)
        loaded = type(model).load_checkpoint(tmp_path, env=make_env())
        stored, again = (replay_arrays(agent.replay_buffer) for agent in (model, loaded))
        assert stored.keys() == again.keys()
        for name, array in stored.items():
            np.testing.assert_array_equal(array, again[name])
        assert loaded.learn(10, reset_num_timesteps=False).num_timesteps == 35

    @pytest.mark.parametrize("n_envs", [1, 2])
    def test_steps_of_dictionaries_that_never_happened_are_dropped(self, make_model, n_envs):
        """The reward is the step's number, which is observed, too, and is not finite once."""

        class Counter(Parts):
            def __init__(self, bad):
                super().__init__(spaces.Dict({"t": spaces.Box(-np.inf, np.inf, (1,))}))
                self.bad, self.steps, self.t = bad, 0, 0

            def observe(self):
                return {"t": np.array([np.nan if self.steps == self.bad else self.t], np.float32)}

            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                self.t = 0
                return {"t": np.zeros(1, np.float32)}, {}

            def step(self, action):
                self.t, self.steps = self.t + 1, self.steps + 1
                return self.observe(), float(self.t), False, self.t >= 10, {}

        bad = iter([33, 17])
        envs = DummyVecEnv([lambda: Counter(next(bad))] * n_envs)
        model = make_model(envs, learning_starts=10**6, not_finite="end", buffer_size=500).learn(100)
        buffer = model.replay_buffer
        for env in range(n_envs):
            if isinstance(model, SAC):
                obs, after = (
                    part["t"][: buffer.pos, env, 0]
                    for part in (buffer.observations, buffer.next_observations)
                )
                rewards = buffer.rewards[: buffer.pos, env]
            else:
                used = int(buffer.filled[env])
                goes_on = buffer.episode_ids[1:used, env] == buffer.episode_ids[: used - 1, env]
                obs, after = (
                    buffer.observations[place, env, 0][goes_on] for place in (slice(used - 1), slice(1, used))
                )
                rewards = buffer.rewards[: used - 1, env][goes_on]
            assert len(obs) >= 100 // n_envs - 3
            np.testing.assert_array_equal(after, obs + 1)
            np.testing.assert_array_equal(rewards, after)

    def test_in_every_form_of_stable_baselines3(self, make_dream):
        model = make_dream(planner="policy")
        one = np.array([0.6, 0.8, 0.1], np.float32)
        expected, _ = model.predict(one, deterministic=True)
        for given in ([0.6, 0.8, 0.1], one.astype(np.float64), one[None], np.stack([one] * 3)):
            actions, _ = model.predict(given, deterministic=True)
            np.testing.assert_allclose(actions, np.broadcast_to(expected, actions.shape), atol=1e-5)
            assert actions.shape == (*np.shape(given)[:-1], 1)

    def test_what_reset_returns_is_explained(self, make_model):
        with pytest.raises(ValueError, match=r"tuple .*env\.reset\(\)"):
            make_model().predict(gym.make("Pendulum-v1").reset())

    @pytest.mark.parametrize(
        "wrong", [{"obs": np.zeros(3)}, np.zeros((2, 7)), np.zeros(2), (1.0, 2.0, 3.0, 4.0)], ids=str
    )
    def test_anything_else_is_refused(self, make_dream, wrong):
        with pytest.raises(ValueError, match=r"is no observation of Box\(\[-1. -1. -8.\].*, \(3,\)"):
            make_dream().predict(wrong)


class TestPolicy:
    def test_is_called_with_tensors(self, make_dream):
        import torch

        model = make_dream()
        actions = model.policy(torch.zeros(2, 3), deterministic=True)
        assert actions.shape == (2, 1)
        assert actions.abs().max() <= 1

    def test_saved_one_acts_in_the_same_units(self, make_dream, tmp_path):
        model = make_dream(Parts(PARTS["dict"]))
        model.policy.save(tmp_path / "policy")
        policy = type(model.policy).load(tmp_path / "policy", device="cpu")
        observation = PARTS["dict"].sample()
        action, _ = policy.predict(observation, deterministic=True)
        np.testing.assert_array_equal(action, model.predict(observation, deterministic=True)[0])


class TestNativeActions:
    def test_are_arrays(self):
        action = np.array([0.5, 1.5], np.float32).view(NativeAction)
        assert isinstance(action * 2, NativeAction)
        assert type(action > 1) is np.ndarray
        assert isinstance(action.max(), np.float32)

    def test_stay_what_they_are_when_they_are_handed_on(self):
        action = np.array([0.5, 1.5], np.float32).view(NativeAction)
        pair = [action, action]
        same = (
            action.copy(),
            copy.deepcopy(action),
            pickle.loads(pickle.dumps(action)),
            action[None],
            action[:1],
        )
        for other in (*same, np.stack(pair), np.concatenate(pair), np.vstack(pair), np.clip(action, -1, 1)):
            assert isinstance(other, NativeAction)
        assert type(np.asarray(action)) is np.ndarray
        assert type(np.isfinite(np.stack(pair))) is np.ndarray

    def test_plain_ones_outside_of_what_is_scaled_are_noticed(self, walk):
        env = make_env(walk(low=0.0, high=10.0))
        env.reset(seed=0)
        with pytest.warns(UserWarning, match=r"action \[7\.\] is clipped to \[-1, 1\].* pass it on as it is"):
            env.step(np.array([7.0], np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            env.step(np.array([8.0], np.float32))  # said once
            make_env(walk(low=0.0, high=10.0)).reset(seed=0)

    def test_are_taken_as_they_are_by_environments_of_make_env(self, walk):
        env = make_env(walk(low=0.0, high=10.0))
        env.reset(seed=0)
        env.step(np.array([0.5], np.float32))
        env.step(np.array([0.5], np.float32).view(NativeAction))
        assert [float(action[0]) for action in env.unwrapped.actions] == [7.5, 0.5]

    def test_are_plain_where_units_are_the_same(self, make_model):
        model = make_model("dmc_cartpole-balance-v0")
        assert type(model.predict(np.zeros(5, np.float32))[0]) is np.ndarray


def as_version_0_1(path, env):
    """Turn a saved agent into what version 0.1 would have saved, which had the spaces of ``make_env``."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    data = json_to_data(contents["data"].decode())
    vars(data["task"]).pop("normalized")
    del data["native_observation_space"]
    data |= {"action_space": env.action_space, "observation_space": env.observation_space}
    contents["data"] = data_to_json(data).encode()
    assert "native_observation_space" not in json.loads(contents["data"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("env", [None, "id", *FORMS])
def test_files_of_version_0_1_act_right(make_model, tmp_path, env):
    model = make_model()
    expected = rewards(model, FORMS["make_vec_env"]("Pendulum-v1"))
    model.save(tmp_path / "old.zip")
    as_version_0_1(tmp_path / "old.zip", make_env("Pendulum-v1"))
    given = FORMS[env]("Pendulum-v1") if env in FORMS else env and "Pendulum-v1"
    loaded = type(model).load(tmp_path / "old.zip", given, device="cpu")
    assert loaded.action_space.high == 2
    for make in FORMS.values():
        assert rewards(loaded, make("Pendulum-v1")) == expected
    if env is not None:
        loaded.learn(12)


def test_old_agent_of_a_vec_env_keeps_its_spaces(make_dream, tmp_path):
    """Nothing says what its environment was, so it acts in [-1, 1], and is refused where that isn't right."""
    make_dream(make_vec_env("Pendulum-v1")).save(tmp_path / "old.zip")
    as_version_0_1(tmp_path / "old.zip", make_env("Pendulum-v1"))
    with pytest.raises(ValueError, match="Action spaces do not match"):
        TDMPC2.load(tmp_path / "old.zip", FORMS["VecEnv of gymnasium's"]("Pendulum-v1"), device="cpu")
    loaded = TDMPC2.load(tmp_path / "old.zip", make_vec_env("Pendulum-v1"), device="cpu")
    assert loaded.action_space.high == 2
