"""Observations of images and numbers by key."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env

from dream_agents import make_env, make_vec_env
from dream_agents.wrappers import gl, task_info
from dream_agents.wrappers.keyed import KeyedObservation, is_picture, observe_by_key, to_bytes, unkeyed

BOTH = {"obs_type": "pixels+state"}

needs_gl = pytest.mark.skipif(
    not any(map(gl.is_usable, gl.HEADLESS)), reason="neither EGL nor OSMesa works here"
)


class Counter(gym.Env):
    """Observes the number of steps, and shows it as an image.

    :param space: of what it observes
    """

    action_space = Box(-2, 2, (1,), np.float32)

    def __init__(self, space=None, render_mode="rgb_array"):
        self.metadata = {"render_modes": ["rgb_array"], "action_repeat": 2}
        self.render_mode, self.observation_space = (
            render_mode,
            space or Box(-np.inf, np.inf, (2,), np.float32),
        )

    def observe(self):
        number = np.full(2, self.steps, np.float32)
        return {"arm": number} if isinstance(self.observation_space, spaces.Dict) else number

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        return self.observe(), 1.0, False, self.steps == 5, {}

    def render(self):
        return np.full((64, 64, 3), self.steps, np.uint8)


class TestRendered:
    def test_pixels_are_stacked_and_the_state_is_the_newest(self):
        env = make_env(Counter, **BOTH)
        for _ in range(2):
            observation, _ = env.reset()
            seen = [(observation["pixels"][::3, 0, 0].tolist(), observation["state"].tolist())]
            for _ in range(3):
                observation, *_ = env.step(env.action_space.sample())
                seen.append((observation["pixels"][::3, 0, 0].tolist(), observation["state"].tolist()))
            assert seen == [
                ([0, 0, 0], [0, 0]),
                ([0, 0, 1], [1, 1]),
                ([0, 1, 2], [2, 2]),
                ([1, 2, 3], [3, 3]),
            ]

    def test_spaces(self):
        env = make_env(Counter, **BOTH)
        assert env.observation_space == spaces.Dict(
            {"pixels": Box(0, 255, (9, 64, 64), np.uint8), "state": Box(-np.inf, np.inf, (2,), np.float32)}
        )
        assert env.action_space == Box(-1, 1, (1,), np.float32)
        assert make_env(Counter, normalized=False, **BOTH).action_space == Counter.action_space
        info = task_info(env)
        assert (info.frame_stack, info.action_repeat) == (3, 2)
        assert make_vec_env(Counter, 2, **BOTH).reset()["pixels"].shape == (2, 9, 64, 64)

    def test_parts_of_a_dictionary_keep_their_keys(self):
        env = make_env(lambda: Counter(spaces.Dict({"arm": Box(-np.inf, np.inf, (2,), np.float32)})), **BOTH)
        assert list(env.observation_space) == ["arm", "pixels"]
        assert env.reset()[0]["arm"].tolist() == [0, 0]

    def test_what_does_not_render_is_refused(self):
        with pytest.raises(
            ValueError, match=r"'pixels\+state' show what an environment renders.*render_mode=None"
        ):
            make_env(lambda: Counter(render_mode=None), **BOTH)

    def test_a_key_that_is_taken_is_refused(self):
        space = spaces.Dict({"pixels": Box(0, 1, (2,))})
        with pytest.raises(ValueError, match=r'as "pixels" already'):
            make_env(lambda: Counter(space), **BOTH)

    @needs_gl
    @pytest.mark.parametrize("id", ["dmc_reacher-easy-v0", "metaworld_reach-v3", "humanoid_h1-stand-v0"])
    def test_every_suite_gives_both(self, id):
        pytest.importorskip("metaworld" if id.startswith("metaworld") else "mujoco")
        env, numbers, images = (
            make_env(id, obs_type=kind, seed=1) for kind in ("pixels+state", "state", "pixels")
        )
        both, state, pixels = (one.reset()[0] for one in (env, numbers, images))
        for _ in range(3):
            np.testing.assert_array_equal(both["state"], state)
            np.testing.assert_array_equal(both["pixels"], pixels)
            both, state, pixels = (one.step(env.action_space.high)[0] for one in (env, numbers, images))
        assert env.observation_space.contains(both)
        for one in (env, numbers, images):
            one.close()


IMAGES = {
    "bytes": (Box(0, 255, (48, 40, 3), np.uint8), True),
    "fractions": (Box(0, 1, (1, 48, 40), np.float64), True),
    "numbers up to 255": (Box(0, 255, (48, 40, 3), np.float32), True),
    "bits": (Box(0, 1, (48, 40, 3), np.uint8), False),
    "around 0": (Box(-1, 1, (48, 40, 3)), False),
    "a matrix": (Box(0, 255, (48, 40), np.uint8), False),
    "whole numbers": (Box(0, 255, (48, 40, 3), np.int64), False),
}


class TestOwnImages:
    @pytest.mark.parametrize("kind", IMAGES)
    def test_what_an_image_is(self, kind):
        space, expected = IMAGES[kind]
        assert is_picture(space) is expected

    @pytest.mark.parametrize("kind", [kind for kind in IMAGES if IMAGES[kind][1]])
    def test_bytes_are_the_same_in_every_dtype_and_order(self, kind):
        space, _ = IMAGES[kind]
        rng = np.random.default_rng(0)
        expected = rng.integers(0, 256, (2, min(space.shape), 48, 40), np.uint8)
        images = (
            (expected / 255 * space.high.max()).astype(space.dtype) if space.dtype != np.uint8 else expected
        )
        for order in (images, np.moveaxis(images, 1, -1)):
            found = to_bytes("camera", space, order)
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == np.uint8 and found.flags.c_contiguous

    def test_a_dictionary_that_can_be_stored_stays_as_it_is(self):
        env = Counter(spaces.Dict({"camera": IMAGES["bytes"][0], "arm": Box(-1, 1, (2,), np.float64)}))
        assert observe_by_key(env) is env

    def test_an_id_whose_images_are_its_own_need_not_render(self, monkeypatch):
        space = spaces.Dict({"camera": IMAGES["bytes"][0], "arm": Box(-1, 1, (2,), np.float64)})
        made = []

        def make(render_mode=None):
            made.append(render_mode)
            return Counter(space, render_mode)

        monkeypatch.setitem(
            gym.registry, "Seeing-v0", gym.envs.registration.EnvSpec("Seeing-v0", entry_point=make)
        )
        monkeypatch.setitem(
            gym.registry, "Blind-v0", gym.envs.registration.EnvSpec("Blind-v0", entry_point=Counter)
        )
        assert make_env("Seeing-v0", **BOTH).observation_space == space
        assert make_env("Seeing-v0", obs_type=None).observation_space == space
        assert set(made) == {None}
        assert make_env("Blind-v0", **BOTH).observation_space["pixels"].shape == (9, 64, 64)

    def test_others_are_brought_into_form(self):
        class Nested(Counter):
            def observe(self):
                return {"head": {"camera": np.full((48, 40, 3), self.steps, np.uint8)}, "mode": 3}

        inner = spaces.Dict({"camera": IMAGES["bytes"][0]})
        env = observe_by_key(Nested(spaces.Dict({"head": inner, "mode": spaces.Discrete(2, start=2)})))
        check_env(env, skip_render_check=True)
        observation, _ = env.reset()
        assert observation["head.camera"].shape == (3, 48, 40) and observation["mode"].tolist() == [0, 1]

    @pytest.mark.parametrize("kind", [kind for kind in IMAGES if IMAGES[kind][1]])
    def test_what_was_brought_into_form_is_brought_back(self, kind):
        image, _ = IMAGES[kind]
        joints = Box(-1, 1, (2, 2), np.float32)
        env = Counter(
            spaces.Dict({"head": spaces.Tuple((image, joints)), "mode": spaces.Discrete(2, start=2)})
        )
        by_key = KeyedObservation(env)
        env.observation_space.seed(0)
        keyed = by_key.observation(env.observation_space.sample())
        again = unkeyed(env.observation_space, keyed)
        assert env.observation_space.contains(again)
        for name, part in by_key.observation(again).items():
            np.testing.assert_array_equal(part, keyed[name])

    def test_with_state_alone_images_are_still_vectors(self):
        space = spaces.Dict({"camera": IMAGES["bytes"][0], "arm": Box(-1, 1, (2,))})
        with pytest.warns(UserWarning, match="each becomes a vector of 5760 numbers"):
            assert make_env(lambda: Counter(space)).observation_space.shape == (5762,)
        assert make_env(lambda: Counter(space), obs_type=None).observation_space == space


class TestWhatIsNoImage:
    @pytest.mark.parametrize(
        ("space", "message"),
        [
            (Box(-1, 1, (64, 64, 3), np.float32), "dtype float32 from -1 to 1"),
            (Box(-np.inf, np.inf, (3, 48, 48), np.float64), "dtype float64 from -inf to inf"),
            (Box(0, 255, (64, 64, 3), np.int32), "dtype int32 from 0 to 255"),
            (Box(0, 1, (3, 64, 64), np.uint8), "dtype uint8 from 0 to 1"),
            (Box(0, 255, (64, 80), np.uint8), r"shape \(64, 80\) .* no dimension of channels.*keep_dim=True"),
        ],
        ids=lambda value: str(value)[:40] if isinstance(value, Box) else "",
    )
    @pytest.mark.parametrize("inside", [False, True])
    def test_is_refused_where_nothing_is_said_and_a_vector_where_it_is(self, space, message, inside):
        which = 'images "camera" of' if inside else "images of"
        observed = spaces.Dict({"camera": space, "arm": Box(-1, 1, (2,))}) if inside else space
        for obs_type in (None, "pixels+state" if inside else "pixels"):
            with pytest.raises(
                ValueError, match=rf'{which} .*{message}.*or make a vector .*obs_type="state"'
            ):
                make_env(Counter(observed, render_mode=None), obs_type=obs_type)
        size = int(np.prod(space.shape)) + 2 * inside
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some are told
            assert make_env(Counter(observed), obs_type="state").observation_space.shape == (size,)

    @pytest.mark.parametrize(
        "space", [Box(-1, 1, (2, 3, 4)), Box(0, 255, (8, 9), np.uint8), Box(-9, 9, (40, 40))]
    )
    def test_small_arrays_and_planes_of_numbers_are_vectors(self, space):
        assert make_env(Counter(space), obs_type=None).observation_space.shape == (int(np.prod(space.shape)),)
