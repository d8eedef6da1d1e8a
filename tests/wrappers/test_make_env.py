"""Any environment, by name or ready-made, in one form; and errors that say what to do."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from dream_agents import make_env
from dream_agents.registry import UnknownNameError, suites
from dream_agents.wrappers import TableSuite, Task, describe


class Fake(gymnasium.Env):
    """Observes samples of any space and remembers the last action."""

    def __init__(self, observation_space=None, action_space=None):
        self.observation_space = observation_space or spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = action_space or spaces.Box(-1, 1, (2,), np.float32)
        self.last_action = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(1 << 30)))
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), (action, self.action_space)
        self.last_action = action
        return self.observation_space.sample(), 0.0, False, False, {}


BOX = spaces.Box(-1, 1, (2,))
OBSERVATIONS = {
    "float64": (spaces.Box(-10, np.inf, (4,), np.float64), 4),
    "matrix": (spaces.Box(-1, 1, (2, 3), np.float64), 6),
    "scalar": (spaces.Box(-1, 1, (), np.float32), 1),
    "dict": (spaces.Dict({"b": BOX, "a": spaces.Discrete(3)}), 5),
    "tuple": (spaces.Tuple((BOX, spaces.MultiBinary(2))), 4),
    "discrete": (spaces.Discrete(6), 6),
}


@pytest.mark.parametrize(("space", "size"), OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_observations_become_float32_vectors(space, size, recwarn):
    env = make_env(Fake(observation_space=space))
    assert env.observation_space.shape == (size,)
    assert env.observation_space.dtype == np.float32
    observation, _ = env.reset(seed=0)
    assert observation.dtype == np.float32
    assert env.observation_space.contains(observation)
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])
    assert not recwarn.list


def test_bounds_beyond_float32_become_infinite(recwarn):
    env = make_env(Fake(observation_space=spaces.Box(-1.7e308, 5, (2,), np.float64)))
    assert env.observation_space == spaces.Box(-np.inf, 5, (2,), np.float32)
    assert not recwarn.list


def test_images_become_vectors_with_a_warning():
    with pytest.warns(UserWarning, match="Fake observes images; each becomes a vector of 192 numbers"):
        env = make_env(Fake(observation_space=spaces.Box(0, 255, (8, 8, 3), np.uint8)))
    assert env.observation_space.shape == (192,)


ACTIONS = {
    "wide": spaces.Box(-2, 2, (1,), np.float32),
    "asymmetric": spaces.Box(np.array([0.0, -3.0]), np.array([1.0, 5.0]), dtype=np.float64),
    "float64": spaces.Box(-1, 1, (3,), np.float64),
    "matrix": spaces.Box(-1, 1, (2, 2), np.float32),
    "scalar": spaces.Box(-0.5, 0.5, (), np.float32),
}


@pytest.mark.parametrize("space", ACTIONS.values(), ids=ACTIONS)
def test_actions_are_unit_vectors_scaled_to_the_environments_bounds(space):
    env = make_env(Fake(action_space=space))
    size = int(np.prod(space.shape))
    assert env.action_space == spaces.Box(-1, 1, (size,), np.float32)
    env.reset(seed=0)
    for end, bound in [(-1, space.low), (1, space.high), (0, (space.low + space.high) / 2)]:
        env.step(np.full(size, end, np.float32))
        np.testing.assert_allclose(env.unwrapped.last_action, bound, atol=1e-6)


def test_actions_keep_their_order_when_reshaped():
    env = make_env(Fake(action_space=ACTIONS["matrix"]))
    env.reset()
    env.step(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    np.testing.assert_allclose(env.unwrapped.last_action, [[0.1, 0.2], [0.3, 0.4]])


def test_environment_in_form_is_returned_untouched():
    env = Fake()
    assert make_env(env) is env
    assert type(make_env(Fake)) is Fake


def test_function_is_called_and_its_environment_normalized():
    env = make_env(lambda: Fake(action_space=ACTIONS["wide"]))
    assert env.action_space.high == 1


@pytest.mark.parametrize(
    "id", ["Pendulum-v1", "MountainCarContinuous-v0", "gymnasium:Pendulum-v1", "Pendulum"]
)
def test_other_gymnasium_ids(id):
    env = make_env(id, seed=0)
    assert env.action_space == spaces.Box(-1, 1, (1,), np.float32)
    check_env(make_env(id), skip_render_check=True)


def test_options_and_render_mode_reach_the_environment():
    env = make_env("Pendulum-v1", g=3.5, render_mode="rgb_array", max_episode_steps=7)
    assert env.unwrapped.g == 3.5
    assert env.render_mode == "rgb_array"
    assert env.spec.max_episode_steps == 7


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("dmc_walker-wlk-v0", "dmc_walker-walk-v0"),
        ("walker-wlak", "walker-walk"),
        ("dmc_walker-walk-v9", "dmc_walker-walk-v0"),
        ("Pendulun-v1", "Pendulum-v1"),
        ("Pendulum-v99", "Pendulum-v1"),
    ],
)
def test_unknown_id_names_the_nearest(wrong, right):
    with pytest.raises(UnknownNameError) as error:
        make_env(wrong)
    assert str(error.value).startswith(f'"{wrong}" is not an environment; did you mean "')
    assert f'"{right}"' in str(error.value)


@pytest.mark.parametrize("name", ["", "§$%", "ALE/Pong-v5", "a/b/c"])
def test_names_unlike_any_id_are_unknown_too(name):
    with pytest.raises(UnknownNameError, match="is not an environment"):
        make_env(name)


def test_missing_module_is_named():
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        make_env("a_module_that_is_not_there:Thing-v0")


def test_discrete_actions_are_refused_with_advice():
    with pytest.raises(ValueError, match=r'"CartPole-v1" has the action space Discrete\(2\).*DQN or PPO'):
        make_env("CartPole-v1")


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_whole_number_actions_are_refused(dtype):
    with pytest.raises(ValueError, match="need a floating-point Box"):
        make_env(Fake(action_space=spaces.Box(0, 5, (2,), dtype)))


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (0, np.inf), (-1e10, 1e10)])
def test_unbounded_actions_are_refused_with_advice(bounds):
    space = spaces.Box(np.float32(bounds[0]), np.float32(bounds[1]), (2,), np.float32)
    with pytest.raises(
        ValueError, match=r"Fake has the action space .* bounds are infinite.*TransformAction"
    ):
        make_env(Fake(action_space=space))


def test_observations_of_varying_length_are_refused():
    with pytest.raises(ValueError, match=r"Fake observes Sequence.*no fixed length"):
        make_env(Fake(observation_space=spaces.Sequence(BOX)))


@pytest.mark.parametrize("id", ["walker-walk", "Pendulum-v1"])
def test_unknown_obs_type_names_the_known_ones(id):
    with pytest.raises(
        ValueError,
        match=r"obs_type='image' is not supported; choose from \('state', 'pixels', 'pixels\+state'\)",
    ):
        make_env(id, obs_type="image")


def test_options_of_a_ready_environment_are_refused():
    with pytest.raises(TypeError, match="g, render_mode: only for an environment's id"):
        make_env(Fake(), g=1, render_mode="rgb_array")


@pytest.mark.parametrize("thing", [3, None, lambda: "Pendulum-v1"])
def test_other_things_are_refused(thing):
    with pytest.raises(TypeError, match=r"expected an environment's id, a gymnasium\.Env or a function"):
        make_env(thing)


@pytest.fixture
def own_suite():
    """A suite as another package would bring it, taken away again afterwards."""
    tasks = [
        Task("fake_reach-v0", Fake, aliases=("reach",), max_episode_steps=20, episodic=False),
        Task(
            "fake_push-v0", Fake, {"action_space": ACTIONS["wide"]}, max_episode_steps=30, target_return=9.0
        ),
    ]
    suite = suites.register("fake")(TableSuite("fake", tasks))
    yield suite
    del suites._registered["fake"]
    for id in suite.ids():
        gymnasium.registry.pop(id, None)


def test_own_suite(own_suite):
    for _ in range(2):  # the second time, Gymnasium knows the ids as well
        assert make_env("reach").spec.id == "fake_reach-v0"
        assert describe("fake_reach-v0").suite == "fake"
    assert make_env("fake_push-v0").action_space.high == 1
    assert gymnasium.make("fake_push-v0").spec.max_episode_steps == 30
    assert (describe("fake_push-v0").target_return, describe("reach").target_return) == (9.0, None)
    with pytest.raises(UnknownNameError, match="fake_reach-v0"):
        make_env("fake_reech-v0")


def test_describe_tells_what_scores_of_a_benchmark_are_measured_by():
    info = describe("h1hand-reach")
    assert (info.id, info.suite) == ("humanoid_h1hand-reach-v0", "humanoid_bench")
    assert (info.target_return, info.random_return) == (12000, -50.024)
    for id in suites.get("humanoid_bench").ids():
        info = describe(id)
        assert info.random_return is not None, id
        assert info.random_return < info.target_return, id


def test_suite_refuses_ambiguous_names():
    with pytest.raises(ValueError, match='"x" names both a-v0 and b-v0'):
        TableSuite("fake", [Task("a-v0", Fake, aliases=("x",)), Task("b-v0", Fake, aliases=("x",))])


def test_broken_suite_of_another_package_does_not_hide_the_error(monkeypatch):
    from importlib.metadata import EntryPoint

    broken = EntryPoint("broken", "a_module_that_is_not_there:SUITE", suites.entry_point_group)
    monkeypatch.setattr(suites, "_entry_points", lambda: [broken])
    with (
        pytest.warns(UserWarning, match="a_module_that_is_not_there"),
        pytest.raises(UnknownNameError, match='did you mean "walker-walk"'),
    ):
        make_env("walker-wakl")
