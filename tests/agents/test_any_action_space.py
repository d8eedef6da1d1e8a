"""Whatever an environment's Box is and however it is given, every action that it gets is in it."""

from io import BytesIO

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

from dream_agents import BMPC, SAC, TDMPC2, DreamerV3, DreamMPC, make_env, make_vec_env
from dream_agents.models.dreamer import DreamerSize
from dream_agents.models.tdmpc import TDMPCSize
from dream_agents.wrappers import ActionScale, NativeAction

EPISODE = 4


class Strict(gym.Env):
    """Refuses actions outside its action space, by its own word, of another dtype or of another shape.

    :param space: its action space
    """

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, space):
        self.action_space, self.taken = space, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        space = self.action_space
        assert isinstance(action, np.ndarray) or space.shape == (), type(action)
        assert np.shape(action) == space.shape
        assert action.dtype == space.dtype
        assert np.isfinite(action).all(), action
        assert space.contains(np.asarray(action)), f"{action!r} is not in {space}"
        self.taken += 1
        return self.np_random.normal(size=2).astype(np.float32), 0.0, False, self.taken % EPISODE == 0, {}


gym.register("Strict-v0", Strict)

#: bounds that have been trouble: narrow, far from 0, locked, one-sided, as large as it gets
BOUNDS = st.one_of(
    st.tuples(st.floats(-10, 10), st.floats(0, 10)),
    st.tuples(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1e-6, 1e-3, 1.0, 1e5])),
    st.tuples(st.sampled_from([-1.0, 0.0, 0.1, 500.0, -9e9, 2.3e-3]), st.sampled_from([0.0, 1e-2, 2.0, 9e9])),
)


@st.composite
def boxes(draw):
    """Boxes with finite bounds of any shape and dtype."""
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16]))
    shape = draw(nps.array_shapes(min_dims=0, max_dims=2, max_side=3))
    size = int(np.prod(shape))
    pairs = draw(st.lists(BOUNDS, min_size=size, max_size=size))
    most = min(9.9e9, float(np.finfo(dtype).max))
    low = np.clip([low for low, _ in pairs], -most, most).astype(dtype).reshape(shape)
    high = np.clip([low + width for low, width in pairs], -most, most).astype(dtype).reshape(shape)
    return gym.spaces.Box(low, np.maximum(low, high), shape, dtype)


SMALL = {"batch_size": 4, "buffer_size": 200, "learning_starts": 9, "device": "cpu"}
TINY = {"model_size": TDMPCSize(8, 8, 8, 2, 2), "planner": "policy", **SMALL}
AGENTS = {
    "TDMPC2": lambda env, **options: TDMPC2(env, **TINY, **options),
    "BMPC": lambda env, **options: BMPC(
        env, training_planner="policy", replanner="policy", **TINY, **options
    ),
    "DreamMPC": lambda env, **options: DreamMPC(
        env, backbone="tdmpc2", **{**TINY, "planner": "dream"}, **options
    ),
    "DreamerV3": lambda env, **options: DreamerV3(
        env,
        **{**TINY, "model_size": DreamerSize(8, 8, 2, 2, 8, 2)},
        learner_kwargs={"sequence_length": 3, "horizon": 2, "autocast": None},
        **options,
    ),
    "SAC": lambda env, **options: SAC(env, policy_kwargs={"net_arch": [8]}, **SMALL, **options),
}
WAYS = {
    "id": lambda space: ("Strict-v0", {"env_kwargs": {"space": space}}),
    "gymnasium.Env": lambda space: (Strict(space), {}),
    "function": lambda space: (lambda: Strict(space), {"n_envs": 2}),
    "VecEnv": lambda space: (DummyVecEnv([lambda: Strict(space)] * 2), {}),
    "make_env": lambda space: (make_env(Strict(space)), {}),
    "make_vec_env": lambda space: (make_vec_env(lambda: Strict(space), 2), {}),
}


@pytest.mark.parametrize("agent", AGENTS)
@settings(
    max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)  # nothing is shrunk, since every example is a training
@given(
    space=boxes(),
    way=st.sampled_from(sorted(WAYS)),
    loaded_in=st.sampled_from([None, *sorted(WAYS)]),
    noisy=st.booleans(),
)
def test_environments_get_no_action_outside_their_space(agent, space, way, loaded_in, noisy):
    env, options = WAYS[way](space)
    if noisy and space.shape:  # Stable-Baselines3's noise is an array
        options["action_noise"] = NormalActionNoise(np.zeros(space.shape), 3 * np.ones(space.shape))
    model = AGENTS[agent](env, **options).learn(18)
    if loaded_in is not None:
        env, options = WAYS[loaded_in](space)
        file = BytesIO()
        model.save(file)
        model = type(model).load(file, env, device="cpu", **options).learn(15)
    assert model.action_space == space
    for deterministic in (True, False):
        action, _ = model.predict(np.zeros(2, np.float32), deterministic=deterministic)
        assert space.contains(np.asarray(action))
    for form in (Strict(space), make_env(Strict(space))):
        form.reset(seed=0)
        form.step(action)


@settings(max_examples=300, deadline=None)
@given(space=boxes(), data=st.data())
def test_any_action_of_the_unit_box_is_scaled_into_the_space(space, data):
    size = int(np.prod(space.shape))
    unit = data.draw(nps.arrays(np.float32, size, elements=st.floats(-1, 1, width=32)))
    scale = ActionScale(space)
    native = scale.to_native(unit.reshape(space.shape))
    assert native.dtype == space.dtype
    assert space.contains(native)
    moves = (space.high > space.low).reshape(-1)
    assert np.all(scale.to_unit(native).reshape(-1)[~moves] == 0)
    again = scale.to_native(scale.to_unit(native).astype(np.float32))
    span = space.high.astype(np.float64) - space.low
    digits = np.finfo(space.dtype).eps * np.abs(space.low.astype(np.float64)) + 1e-6 * span
    np.testing.assert_array_less(np.abs(again.astype(np.float64) - native), 4 * digits + 1e-30)
    env = make_env(Strict(space))
    env.reset(seed=0)
    outside = [] if env is env.unwrapped else [5 * np.ones(size, np.float32)]  # one in form stays as it is
    for action in (unit, -np.ones(size, np.float32), *outside, native.view(NativeAction)):
        env.step(action)


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("agent", ["TDMPC2", "SAC"])
@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (0.0, np.inf), (-LARGEST, LARGEST)], ids=str)
def test_bounds_without_a_scale_are_refused_by_the_component(agent, way, bounds):
    low, high = np.array([-1, bounds[0]], np.float32), np.array([1, bounds[1]], np.float32)
    space = gym.spaces.Box(low, high)

    def make():
        env, options = WAYS[way](space)
        return AGENTS[agent](env, **options)

    with pytest.raises(ValueError, match=r"action\[1\] \(.* to .*\), .*TransformAction"):
        make()


@pytest.mark.parametrize("agent", AGENTS)
def test_actions_that_are_not_finite_do_not_reach_the_environment(agent):
    model = AGENTS[agent](Strict(gym.spaces.Box(-2, 2, (2,), np.float32)))
    for parameter in model.policy.parameters():
        parameter.data.fill_(np.nan)
    with pytest.raises(ValueError, match=r"not finite|nan"):
        model.predict(np.zeros(2, np.float32), deterministic=True)
