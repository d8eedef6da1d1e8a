"""Stacked images of which each frame is stored once, against a buffer that stores the stacks as they are."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

ACTIONS = spaces.Box(-1, 1, (2,), np.float32)


def images(channels, size=8):
    return spaces.Box(0, 255, (channels, size, size), np.uint8)


CASES = {
    "not full": {"size": 200, "decisions": 60},
    "wrapped once": {"size": 50, "decisions": 70},
    "wrapped often": {"size": 23, "decisions": 500},
    "three environments": {"size": 90, "n_envs": 3, "decisions": 200},
    "two frames": {"k": 2, "decisions": 150},
    "five frames": {"k": 5, "n_envs": 2, "decisions": 150},
    "grey": {"channels": 1, "decisions": 150},
    "single steps": {"size": 40, "length": 1, "decisions": 100},
    "more steps than frames": {"length": 8, "decisions": 150},
    "mostly too short": {"n_envs": 2, "decisions": 300, "lengths": (1, 4)},
    "one long episode": {"size": 20, "decisions": 70, "lengths": (1000, 1000)},
    "smallest possible": {"size": 7, "decisions": 89, "lengths": (9, 9)},
}


class TestDrawing:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("case", CASES)
    def test_same_sub_sequences_as_of_whole_stacks(self, case, seed, make_buffer, make_cameras):
        options = dict(CASES[case])
        decisions, lengths = options.pop("decisions"), options.pop("lengths", (1, 12))
        stacked, plain = make_buffer(**options), make_buffer(**options, frame_stack=1)
        k, channels = options.get("k", 3), options.get("channels", 3)
        cameras = make_cameras(stacked, plain, k=k, channels=channels, seed=seed, lengths=lengths)
        cameras.play(decisions)
        assert cameras.check()
        assert stacked.observations.shape[2:] == (channels, 8, 8)
        shape = (stacked.sequence_length + 1, 5, k * channels, 8, 8)
        assert stacked.sample(5).observations.shape == shape

    def test_same_batches_until_frames_are_overwritten(self, make_buffer, make_cameras, same):
        """The same start points are drawn, in the same order."""
        stacked, plain = make_buffer(100, n_envs=2), make_buffer(100, n_envs=2, frame_stack=1)
        cameras = make_cameras(stacked, plain)
        for _ in range(4):
            cameras.play(10)
            same(stacked.sample(50), plain.sample(50))

    def test_at_every_moment(self, make_buffer, make_cameras):
        options = {"size": 40, "n_envs": 2, "length": 2}
        cameras = make_cameras(make_buffer(**options), make_buffer(**options, frame_stack=1))
        for _ in range(100):
            cameras.play(1)
            if cameras.starts():
                cameras.check(400)
            else:
                with pytest.raises(ValueError, match="holds no sub-sequence"):
                    cameras.buffers[0].sample(1)

    def test_oldest_slot_is_drawn_where_an_episode_begins_there(self, make_buffer, make_cameras):
        cameras = make_cameras(make_buffer(12), make_buffer(12, frame_stack=1), lengths=(5, 5))
        cameras.play(15)  # of three episodes of six slots each, the last two are there
        oldest = cameras.rings[0][0]
        assert oldest[1:] == (0, 0)
        assert oldest[:2] in cameras.check()

    def test_by_hand(self, make_buffer):
        """Two frames of a pixel each; an episode of three steps, the next one in progress."""
        buffer = make_buffer(20, length=2, k=2, observation_space=images(2, size=1))

        def add(obs, next_obs, done):
            obs, next_obs = (np.array(o, np.uint8).reshape(1, 2, 1, 1) for o in (obs, next_obs))
            buffer.add(obs, next_obs, np.zeros((1, 2)), np.zeros(1), np.array([done]), [{}])

        add([10, 10], [10, 11], False)
        add([10, 11], [11, 12], False)
        add([11, 12], [12, 13], True)
        add([50, 50], [50, 51], False)
        add([50, 51], [51, 52], False)
        add([51, 52], [52, 53], False)
        assert buffer.observations[:7].flatten().tolist() == [10, 11, 12, 13, 50, 51, 52]
        batch = buffer.sample(100)
        assert {str(part.flatten().tolist()) for part in batch.observations.unbind(1)} == {
            "[10, 10, 10, 11, 11, 12]",
            "[10, 11, 11, 12, 12, 13]",
            "[50, 50, 50, 51, 51, 52]",
        }

    def test_gymnasium_stacks(self, make_buffer, same):
        """``FrameStackObservation`` with its padding, its first two axes joined."""

        class Noise(gym.Env):
            observation_space, action_space = images(3), ACTIONS

            def draw(self):
                return self.np_random.integers(256, size=(3, 8, 8), dtype=np.uint8)

            def reset(self, seed=None, options=None):
                super().reset(seed=seed)
                return self.draw(), {}

            def step(self, action):
                return self.draw(), 0.0, self.np_random.random() < 0.1, False, {}

        def make():
            return gym.wrappers.ReshapeObservation(FrameStackObservation(Noise(), 3), (9, 8, 8))

        envs = DummyVecEnv([make, make])
        envs.seed(0)
        buffers = [make_buffer(200, n_envs=2, frame_stack=k) for k in (3, 1)]
        obs = envs.reset()
        for step in range(80):
            actions = np.full((2, 2), step)
            new_obs, rewards, done, infos = envs.step(actions)
            next_obs = new_obs.copy()
            for env in np.flatnonzero(done):
                next_obs[env] = infos[env]["terminal_observation"]
            for buffer in buffers:
                buffer.add(obs, next_obs, actions, rewards, done, infos)
            obs = new_obs
        assert buffers[0].size() == buffers[1].size() > 165  # some episodes ended
        same(*(buffer.sample(300) for buffer in buffers))


class TestCutEpisodes:
    def test_learning_again_after_a_reset(self, make_buffer, make_cameras):
        stacked, plain = make_buffer(n_envs=2, length=2), make_buffer(n_envs=2, length=2, frame_stack=1)
        cameras = make_cameras(stacked, plain, lengths=(30, 30))
        for _ in range(4):
            cameras.play(7)
            for env in range(2):
                cameras.cut(env, reset=True)
        cameras.check()
        assert stacked.size() == plain.size()

    @pytest.mark.parametrize("size", [400, 50], ids=["not full", "wrapped"])
    @pytest.mark.parametrize(("k", "length"), [(3, 3), (5, 1)])
    def test_going_on_without_a_reset_keeps_the_older_frames(
        self, size, k, length, make_buffer, make_cameras
    ):
        """They take k - 1 slots, from which nothing is drawn."""
        options = {"n_envs": 2, "k": k, "length": length}
        stacked, plain = make_buffer(size, **options), make_buffer(400, **options, frame_stack=1)
        cameras = make_cameras(stacked, plain, k=k, lengths=(25, 40))
        for _ in range(12):
            cameras.cut(1, reset=False)
            cameras.play(7)
        cameras.check()
        assert stacked.size() == sum(len(ring) for ring in cameras.rings)
        assert size == 50 or stacked.size() > plain.size()

    def test_other_padding(self, make_buffer, make_cameras):
        """Stable-Baselines3's VecFrameStack pads with zeros."""
        cameras = make_cameras(make_buffer(100), make_buffer(100, frame_stack=1), lengths=(30, 30))
        black = np.zeros((3, 8, 8), np.uint8)
        cameras.stacks[0].extend([black, black, cameras.frame()])
        cameras.new_episode(0)
        cameras.play(20)
        cameras.check()

    def test_reset_forgets_everything(self, make_buffer, make_cameras):
        buffers = make_buffer(), make_buffer(frame_stack=1)
        make_cameras(*buffers, seed=1).play(100)
        for buffer in buffers:
            buffer.reset()
        assert not buffers[0].can_sample()
        cameras = make_cameras(*buffers, seed=2)
        cameras.play(30)
        cameras.check()


class TestErrors:
    @pytest.mark.parametrize(
        ("k", "space", "message"),
        [
            (2, images(9), r"frame_stack=2 does not divide the 9 channels .*\(9, 8, 8\)"),
            (3, spaces.Box(-1, 1, (9,)), r"frame_stack=3 needs observations that are uint8 images"),
            (3, spaces.Box(0, 255, (9, 8), np.uint8), "uint8 images of shape"),
            (3, spaces.Box(0, 1, (9, 8, 8), np.float32), "uint8 images of shape"),
            (0, images(9), "frame_stack=0: an observation has at least 1 frame"),
        ],
    )
    def test_spaces_that_hold_no_stacks(self, k, space, message, make_buffer):
        with pytest.raises(ValueError, match=message):
            make_buffer(k=k, observation_space=space)

    def test_too_small_a_buffer(self, make_buffer):
        with pytest.raises(
            ValueError, match=r"leaves 6 slots each.*with stacks of 3 frames needs at least 7"
        ):
            make_buffer(12, n_envs=2)

    def test_stacks_that_are_not_the_ones_before_moved_on(self, make_buffer):
        buffer = make_buffer(n_envs=2)

        def add(obs, next_obs, done=False):
            buffer.add(obs, next_obs, np.zeros((2, 2)), np.zeros(2), np.array([False, done]), [{}, {}])

        first, new = np.random.default_rng(0).integers(256, size=(2, 2, 3, 8, 8), dtype=np.uint8)
        first = np.tile(first, (1, 3, 1, 1))
        second = np.concatenate([first[:, :6], new], 1)
        newest_first = np.stack([second[0], np.roll(second[1], 3, axis=0)])
        add(first, second)
        with pytest.raises(ValueError, match=r"environment 1 is not the one before .*oldest frame first"):
            add(newest_first, second)
        add(second, first)
        with pytest.raises(ValueError, match=r"environment 0 .*call start_episodes\(\) first"):
            add(first, second)  # as after a reset
        buffer.start_episodes()
        add(first, second)
        with pytest.raises(ValueError, match="environment 1"):
            add(second, newest_first, done=True)

    def test_arrays_of_other_stacks(self, make_buffer, make_cameras):
        stacked, plain = make_buffer(), make_buffer(frame_stack=1)
        make_cameras(stacked, plain).play(20)
        with pytest.raises(ValueError, match=r"frame_stack=3, this buffer has frame_stack=1; make it with"):
            plain.load_state_arrays(stacked.state_arrays())
        with pytest.raises(ValueError, match="frame_stack=1, this buffer has frame_stack=3"):
            stacked.load_state_arrays(plain.state_arrays())
        with pytest.raises(ValueError, match="frame_stack=3, this buffer has frame_stack=2"):
            make_buffer(k=2).load_state_arrays(stacked.state_arrays())


class TestStorage:
    @pytest.mark.parametrize("decisions", [20, 300], ids=["part filled", "wrapped"])
    @pytest.mark.parametrize("in_folder", [False, True], ids=["memory", "folder"])
    def test_arrays_round_trip(self, decisions, in_folder, make_buffer, make_cameras, same, tmp_path):
        stacked, plain = make_buffer(n_envs=2), make_buffer(n_envs=2, frame_stack=1)
        cameras = make_cameras(stacked, plain)
        cameras.play(decisions)
        restored = make_buffer(n_envs=2, folder=tmp_path if in_folder else None)
        restored.load_state_arrays({name: np.array(value) for name, value in stacked.state_arrays().items()})
        restored.rng.bit_generator.state = stacked.rng.bit_generator.state
        same(restored.sample(50), stacked.sample(50))
        cameras.buffers = (restored, plain)
        cameras.play(11)  # on in the middle of an episode
        cameras.check()

    @pytest.mark.parametrize("k", [1, 3])
    def test_a_larger_buffer_takes_a_full_one(self, k, make_buffer, make_cameras):
        small, twin, large = (make_buffer(size, n_envs=2, frame_stack=k) for size in (60, 120, 120))
        cameras = make_cameras(small, twin)
        cameras.play(100)
        assert small.full and small.positions.all()
        large.load_state_arrays(small.state_arrays())
        assert large.size() == 60
        cameras.buffers = (large, twin)
        cameras.check()
        cameras.play(10)
        cameras.check()
        assert large.size() > 80

    def test_memory_mapped_files(self, make_buffer, make_cameras, same, tmp_path):
        stacked, twin = make_buffer(n_envs=2, folder=tmp_path / "replay"), make_buffer(n_envs=2)
        assert len(stacked.state_arrays()["older_frames"]) == 0
        make_cameras(stacked, twin).play(100)
        assert isinstance(stacked.observations, np.memmap)
        assert isinstance(stacked.older_frames, np.memmap)
        same(stacked.sample(100), twin.sample(100))

    @pytest.mark.parametrize("in_folder", [False, True], ids=["memory", "folder"])
    def test_pickle(self, in_folder, make_buffer, make_cameras, same, tmp_path):
        """Stable-Baselines3's ``save_replay_buffer``."""
        stacked = make_buffer(n_envs=2, folder=tmp_path if in_folder else None)
        cameras = make_cameras(stacked)
        cameras.play(100)
        copy = pickle.loads(pickle.dumps(stacked))
        same(copy.sample(50), stacked.sample(50))
        cameras.buffers = (copy, stacked)
        cameras.play(20)
        same(copy.sample(50), stacked.sample(50))

    def test_memory_a_frame(self, make_buffer):
        """Everything that the buffer holds takes 10% more than the frames at most."""
        space = images(9, size=64)
        buffer = make_buffer(200, observation_space=space)
        obs = np.zeros((1, *space.shape), np.uint8)
        while not buffer.full:
            buffer.add(obs, obs, np.zeros((1, 2)), np.zeros(1), np.array([False]), [{}])
        arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
        assert buffer.size() == 200
        assert sum(array.nbytes for array in arrays) <= 1.1 * 200 * 3 * 64 * 64


class TestReading:
    def test_batches_are_copies(self, make_buffer, make_cameras, same):
        buffer, twin = make_buffer(), make_buffer()
        make_cameras(buffer, twin).play(40)
        observations = buffer.sample(30).observations
        before = observations[0].clone()
        observations[1:] = 0
        assert torch.equal(observations[0], before)  # though it has frames in common with the next
        twin.sample(30)
        same(buffer.sample(100), twin.sample(100))

    @pytest.mark.parametrize("n_envs", [1, 3])
    def test_stacks_put_together_on_the_device_are_the_same(self, n_envs, make_buffer, make_cameras):
        """As where the device is a GPU."""
        buffer = make_buffer(90, n_envs=n_envs)
        cameras = make_cameras(buffer)
        for _ in range(10):
            cameras.play(23)
            starts, envs = buffer._draw_starts(100)
            slots = (starts + np.arange(4)[:, None]) % buffer.buffer_size
            together = buffer._stacks.read_on(torch.device("cpu"), slots, envs)
            np.testing.assert_array_equal(together, buffer._stacks.read(slots, envs))

    @pytest.mark.gpu
    def test_batches_on_a_gpu(self, make_buffer, make_cameras, same):
        buffer, twin = make_buffer(90, n_envs=3, device="cuda"), make_buffer(90, n_envs=3)
        cameras = make_cameras(buffer, twin)
        for _ in range(10):
            cameras.play(23)
            batches = [
                buffer.sample(100) for _ in range(5)
            ]  # none may write over another's frames on their way
            for batch in batches:
                assert all(tensor.device.type == "cuda" for tensor in batch[:4])
                same([tensor.cpu() for tensor in batch[:4]], twin.sample(100))

    def test_batches_go_to_the_device(self, make_buffer, make_cameras):
        buffer = make_buffer(device="meta")
        make_cameras(buffer).play(50)
        batch = buffer.sample(3)
        assert all(tensor.device.type == "meta" for tensor in batch[:4])
        assert batch.observations.shape == (4, 3, 9, 8, 8)

    def test_no_python_loop_over_the_batch(self, make_buffer, make_cameras, lines_to_sample):
        buffer = make_buffer(400, n_envs=2)
        make_cameras(buffer, lengths=(60, 60)).play(190)

        few = lines_to_sample(buffer, 64)
        assert 0 < few < 300
        assert lines_to_sample(buffer, 2048) < 2 * few


class TestVecNormalize:
    def sample_both(self, make_buffer, make_cameras, env):
        buffer, twin = make_buffer(), make_buffer()
        make_cameras(buffer, twin).play(50)
        return buffer.sample(40, env=env), twin.sample(40)

    @pytest.fixture
    def envs(self):
        class Constant(gym.Env):
            observation_space, action_space = images(9), ACTIONS

        return DummyVecEnv([Constant])

    def test_leaves_images_alone_where_it_is_told_to(self, envs, make_buffer, make_cameras):
        env = VecNormalize(envs, norm_obs=False, clip_reward=0.5)
        normalized, raw = self.sample_both(make_buffer, make_cameras, env)
        assert normalized.observations.dtype == torch.uint8
        assert torch.equal(normalized.observations, raw.observations)
        torch.testing.assert_close(normalized.rewards, raw.rewards.clamp(-0.5, 0.5))

    def test_normalises_stacks_otherwise(self, envs, make_buffer, make_cameras):
        env = VecNormalize(envs, clip_obs=5.0)
        env.obs_rms.mean = np.arange(9.0)[:, None, None] * np.ones((9, 8, 8))
        env.obs_rms.var = np.full((9, 8, 8), 100.0)
        normalized, raw = self.sample_both(make_buffer, make_cameras, env)
        expected = (raw.observations.double() - torch.arange(9.0)[:, None, None]) / 10
        expected = expected.clamp(-5, 5).float()
        torch.testing.assert_close(normalized.observations, expected, rtol=1e-4, atol=1e-4)
