"""Sampled sub-sequences against a plain record of everything that happened."""

import pickle
from collections import Counter
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from dream_agents.replay import ExtraField, SequenceReplayBuffer, StoredSteps

OBSERVATIONS = spaces.Box(-np.inf, np.inf, (3,), np.float32)
ACTIONS = spaces.Box(-1, 1, (2,), np.float32)


class World:
    """Environments that number everything, and a list for each of what the ring should hold.

    Observations are (env, episode, step), actions (env + step / 100, episode / 100), and rewards
    1000 env + 10 episode + step / 10.
    """

    def __init__(self, buffer, seed=0, lengths=(1, 12), terminates=0.5):
        self.buffer, self.random = buffer, np.random.default_rng(seed)
        self.lengths, self.terminates = lengths, terminates
        self.rings = [[] for _ in range(buffer.n_envs)]  # (episode, step, whether the step ended the task)
        self.episode = [0] * buffer.n_envs
        self.step = [0] * buffer.n_envs
        self.length = [self.draw_length() for _ in range(buffer.n_envs)]

    def draw_length(self):
        return int(self.random.integers(*self.lengths, endpoint=True))

    @staticmethod
    def observation(env, episode, step):
        return np.array([env, episode, step], np.float32)

    @staticmethod
    def action(env, episode, step):
        return np.array([env + step / 100, episode / 100], np.float32)

    @staticmethod
    def reward(env, episode, step):
        return 1000 * env + 10 * episode + step / 10

    def play(self, decisions):
        n = self.buffer.n_envs
        for _ in range(decisions):
            now = [(env, self.episode[env], self.step[env]) for env in range(n)]
            done = np.array([self.step[env] + 1 == self.length[env] for env in range(n)])
            terminal = done & (self.random.random(n) < self.terminates)
            infos = [{"TimeLimit.truncated": bool(d and not t)} for d, t in zip(done, terminal, strict=True)]
            after = [(env, episode, step + 1) for env, episode, step in now]
            self.buffer.add(
                np.stack([self.observation(*key) for key in now]),
                np.stack([self.observation(*key) for key in after]),
                np.stack([self.action(*key) for key in now]),
                np.array([self.reward(*key) for key in now], np.float32),
                done,
                infos,
            )
            for env in range(n):
                self.remember(env, (self.episode[env], self.step[env], bool(terminal[env])))
                self.step[env] += 1
                if done[env]:
                    self.remember(env, (self.episode[env], self.step[env], None))  # the last observation
                    self.new_episode(env)

    def new_episode(self, env):
        self.episode[env] += 1
        self.step[env], self.length[env] = 0, self.draw_length()

    def remember(self, env, entry):
        self.rings[env].append(entry)
        del self.rings[env][: -self.buffer.buffer_size]

    def starts(self):
        """Every (env, episode, step) from which a whole sub-sequence is stored, with how it ends."""
        starts = {}
        for env, ring in enumerate(self.rings):
            for i in range(len(ring) - self.buffer.sequence_length):
                part = ring[i : i + self.buffer.sequence_length + 1]
                if part[0][0] == part[-1][0]:
                    starts[(env, *part[0][:2])] = part
        return starts

    def check(self, batch):
        """Compare every sub-sequence with the record; return how often each start was drawn."""
        observations, actions, rewards, terminated = (tensor.numpy() for tensor in batch[:4])
        env, episode, step = observations[0].T.astype(int)  # each [B]
        possible = self.starts()
        drawn = Counter(zip(env.tolist(), episode.tolist(), step.tolist(), strict=True))
        assert set(drawn) <= set(possible), "drawn, but not stored as a whole"
        for t in range(self.buffer.sequence_length + 1):
            expected = np.stack((env, episode, step + t), -1)
            np.testing.assert_array_equal(observations[t], expected)
        for t in range(self.buffer.sequence_length):
            expected = np.stack((env + (step + t) / 100, episode / 100), -1)
            np.testing.assert_allclose(actions[t], expected, rtol=1e-6)
            np.testing.assert_allclose(rewards[t], self.reward(env, episode, step + t), rtol=1e-6)
            ends = [possible[key][t][2] for key in zip(env, episode, step, strict=True)]
            np.testing.assert_array_equal(terminated[t], ends)
        return drawn


def make_buffer(size=60, n_envs=1, length=3, seed=0, **kwargs):
    kwargs = {"observation_space": OBSERVATIONS, "action_space": ACTIONS, "device": "cpu", **kwargs}
    return SequenceReplayBuffer(size, n_envs=n_envs, sequence_length=length, seed=seed, **kwargs)


CASES = {
    "one environment, not full": {"size": 200, "decisions": 60},
    "just full": {"size": 60, "decisions": 55},
    "wrapped once": {"size": 50, "decisions": 70},
    "wrapped often": {"size": 23, "decisions": 500},
    "three environments": {"size": 90, "n_envs": 3, "decisions": 100},
    "single steps": {"size": 40, "length": 1, "decisions": 100},
    "long sub-sequences": {"size": 60, "length": 8, "decisions": 150},
    "mostly too short": {"size": 80, "n_envs": 2, "length": 4, "decisions": 300, "lengths": (1, 4)},
    "smallest possible": {"size": 5, "length": 3, "decisions": 86, "lengths": (9, 9)},
}


@pytest.fixture(params=CASES)
def played(request):
    """A buffer and its record."""
    case = dict(CASES[request.param])
    decisions, lengths = case.pop("decisions"), case.pop("lengths", (1, 12))
    world = World(make_buffer(**case), lengths=lengths)
    world.play(decisions)
    return world


class TestSampling:
    def test_exactly_the_stored_sub_sequences_are_drawn_all_alike(self, played):
        possible = played.starts()
        assert possible
        drawn = played.check(played.buffer.sample(200 * len(possible)))
        assert set(drawn) == set(possible)
        statistic = sum((count - 200) ** 2 / 200 for count in drawn.values())
        degrees = len(possible) - 1
        assert statistic <= degrees + 6 * np.sqrt(2 * degrees)

    def test_at_every_moment(self):
        world = World(make_buffer(40, n_envs=2, length=2))
        for _ in range(150):
            world.play(1)
            if world.starts():
                world.check(world.buffer.sample(20))
            else:
                with pytest.raises(ValueError, match="holds no sub-sequence"):
                    world.buffer.sample(1)

    def test_shapes_and_types(self):
        world = World(make_buffer(n_envs=2, length=3))
        world.play(40)
        batch = world.buffer.sample(7)
        assert [tuple(tensor.shape) for tensor in batch[:4]] == [(4, 7, 3), (3, 7, 2), (3, 7), (3, 7)]
        assert all(tensor.dtype == torch.float32 for tensor in batch[:4])

    def test_batches_are_copies(self):
        world = World(make_buffer())
        world.play(40)
        world.buffer.sample(30).observations.fill_(-1)
        world.check(world.buffer.sample(30))

    def test_seed_decides_the_draws(self):
        def draw(seed):
            world = World(make_buffer(seed=seed))
            world.play(50)
            return torch.cat([world.buffer.sample(16).rewards for _ in range(3)])

        assert torch.equal(draw(3), draw(3))
        assert not torch.equal(draw(3), draw(4))

    def test_no_python_loop_over_the_batch(self, lines_to_sample):
        """As many lines of Python run for a large batch as for a small one."""
        world = World(make_buffer(400, n_envs=2), lengths=(60, 60))
        world.play(190)

        few = lines_to_sample(world.buffer, 64)
        assert 0 < few < 300
        assert lines_to_sample(world.buffer, 4096) < 2 * few  # a second round of draws is fine


class TestEnds:
    def play(self, done, truncated, **kwargs):
        buffer = make_buffer(length=2, **kwargs)
        for step in range(4):
            last = step == 3
            buffer.add(
                np.full((1, 3), step),
                np.full((1, 3), step + 1),
                np.zeros((1, 2)),
                np.zeros(1),
                np.array([done and last]),
                [{"TimeLimit.truncated": truncated and last}],
            )
        batch = buffer.sample(200)
        last = batch.observations[0, :, 0] == 2
        return batch, last

    def test_terminal_observation_is_included(self):
        batch, last = self.play(done=True, truncated=False)
        assert last.any()
        assert torch.all(batch.observations[2, last] == 4)
        assert torch.all(batch.terminated[1, last] == 1)
        assert batch.terminated.sum() == last.sum()  # and nowhere else

    def test_time_limits_do_not_terminate(self):
        batch, last = self.play(done=True, truncated=True)
        assert last.any()
        assert torch.all(batch.observations[2, last] == 4)
        assert batch.terminated.sum() == 0

    def test_unless_they_are_asked_to(self):
        batch, last = self.play(done=True, truncated=True, handle_timeout_termination=False)
        assert torch.all(batch.terminated[1, last] == 1)

    def test_newest_observation_waits_for_its_step(self):
        _, last = self.play(done=False, truncated=False)
        assert not last.any()

    def test_interrupted_episode_is_not_joined_to_the_next(self):
        world = World(make_buffer(length=2), lengths=(30, 30))
        world.play(10)
        world.buffer.start_episodes()
        world.new_episode(0)
        world.play(10)
        drawn = world.check(world.buffer.sample(500))
        assert {episode for _, episode, _ in drawn} == {0, 1}

    def test_some_environments_may_be_interrupted(self):
        world = World(make_buffer(n_envs=3, length=2), lengths=(30, 30))
        world.play(10)
        world.buffer.start_episodes(np.array([1]))
        world.new_episode(1)
        world.play(6)
        world.check(world.buffer.sample(500))


class TestSpaces:
    def store(self, buffer, obs, action):
        for _ in range(6):
            buffer.add(obs, obs, action, np.zeros(1), np.array([False]), [{}])
        return buffer.sample(4)

    def test_images_keep_their_type(self):
        space = spaces.Box(0, 255, (2, 4, 4), np.uint8)
        buffer = make_buffer(observation_space=space)
        image = np.arange(32, dtype=np.uint8).reshape(1, 2, 4, 4)
        batch = self.store(buffer, image, np.zeros((1, 2)))
        assert buffer.observations.dtype == np.uint8
        assert batch.observations.dtype == torch.uint8
        np.testing.assert_array_equal(batch.observations[2, 3], image[0])

    def test_double_precision_becomes_single(self):
        buffer = make_buffer(observation_space=spaces.Box(-1, 1, (3,), np.float64))
        batch = self.store(buffer, np.full((1, 3), 0.1), np.zeros((1, 2)))
        assert batch.observations.dtype == torch.float32

    def test_actions_are_flat(self):
        buffer = make_buffer(action_space=spaces.Box(-1, 1, (2, 2), np.float32))
        batch = self.store(buffer, np.zeros((1, 3)), np.arange(4.0).reshape(1, 2, 2))
        np.testing.assert_array_equal(batch.actions[0, 0], [0, 1, 2, 3])


class TestSize:
    def test_counts_slots_in_use(self):
        world = World(make_buffer(40, n_envs=2), lengths=(5, 5))
        world.play(4)
        assert world.buffer.size() == 8
        world.play(1)
        assert world.buffer.size() == 12  # the last observations take a slot each
        world.play(100)
        assert world.buffer.size() == 40
        assert world.buffer.full

    def test_reset_forgets_everything(self):
        world = World(make_buffer())
        world.play(100)
        world.buffer.reset()
        assert world.buffer.size() == 0
        with pytest.raises(ValueError, match="holds no sub-sequence of 3 steps"):
            world.buffer.sample(1)
        fresh = World(world.buffer)
        fresh.play(100)
        fresh.check(fresh.buffer.sample(300))

    def test_too_small_a_buffer(self):
        with pytest.raises(
            ValueError, match=r"buffer_size=16 over 4 environments leaves 4 slots each.*at least 5"
        ):
            make_buffer(16, n_envs=4)


class TestStorage:
    @pytest.mark.parametrize("decisions", [20, 300], ids=["part filled", "wrapped"])
    def test_arrays_round_trip(self, decisions):
        world = World(make_buffer(60, n_envs=2))
        world.play(decisions)
        arrays = {name: np.array(value) for name, value in world.buffer.state_arrays().items()}
        restored = make_buffer(60, n_envs=2)
        restored.load_state_arrays(arrays)
        original, world.buffer = world.buffer, restored
        world.check(restored.sample(300))
        world.play(40)  # and it goes on as the original would
        drawn = world.check(restored.sample(3000))
        assert set(drawn) == set(world.starts())
        assert restored.size() == sum(len(ring) for ring in world.rings)
        assert original.size() == min(original.size(), restored.size())

    def test_same_generator_draws_the_same_from_a_restored_buffer(self):
        world = World(make_buffer(60))
        world.play(200)
        restored = make_buffer(60)
        restored.load_state_arrays(world.buffer.state_arrays())
        restored.rng.bit_generator.state = world.buffer.rng.bit_generator.state
        for one, other in zip(world.buffer.sample(50)[:4], restored.sample(50)[:4], strict=True):
            assert torch.equal(one, other)

    def test_arrays_take_no_more_room_than_is_in_use(self):
        world = World(make_buffer(10_000), lengths=(50, 50))
        world.play(20)
        assert len(world.buffer.state_arrays()["observations"]) == 20

    @pytest.mark.parametrize(
        "other", [{"size": 30}, {"observation_space": spaces.Box(-1, 1, (4,))}, {"n_envs": 2}]
    )
    def test_arrays_of_another_buffer(self, other):
        world = World(make_buffer(60))
        world.play(100)
        with pytest.raises(
            ValueError, match=r"stored replay array \w+ has shape .* use the same buffer_size"
        ):
            make_buffer(**{"size": 60, **other}).load_state_arrays(world.buffer.state_arrays())

    def test_pickle(self):
        """Stable-Baselines3's ``save_replay_buffer``."""
        world = World(make_buffer(60, n_envs=2))
        world.play(100)
        world.buffer = pickle.loads(pickle.dumps(world.buffer))
        world.check(world.buffer.sample(300))
        world.play(50)
        world.check(world.buffer.sample(300))

    def test_memory_mapped_files(self, tmp_path):
        folder = tmp_path / "new" / "replay"
        world, twin = World(make_buffer(60, n_envs=2, folder=folder)), World(make_buffer(60, n_envs=2))
        for one in (world, twin):
            one.play(100)
        arrays = world.buffer.state_arrays()
        for name, expected in twin.buffer.state_arrays().items():
            np.testing.assert_array_equal(arrays[name], expected)
        assert all(isinstance(arrays[name], np.memmap) for name in ("observations", "actions", "rewards"))
        world.check(world.buffer.sample(300))
        for one, other in zip(world.buffer.sample(9)[:4], twin.buffer.sample(309)[:4], strict=True):
            assert one.shape[1] == 9
            assert one.dtype == other.dtype

    def test_memory_mapped_files_belong_to_one_buffer(self, tmp_path):
        worlds = [World(make_buffer(60, n_envs=2, folder=tmp_path), seed=seed) for seed in range(2)]
        for world in worlds:
            world.play(100)
        worlds[1].buffer.load_state_arrays(make_buffer(60, n_envs=2).state_arrays())
        worlds[0].check(worlds[0].buffer.sample(300))
        copy = pickle.loads(pickle.dumps(worlds[0].buffer))
        copy.reset()
        worlds[0].check(worlds[0].buffer.sample(300))

    def test_memory_mapped_files_leave_nothing_behind(self, tmp_path):
        """Whatever becomes of the process: they have no names."""
        world = World(make_buffer(60, folder=tmp_path))
        world.play(100)
        assert list(tmp_path.iterdir()) == []

    def test_memory_mapped_buffer_needs_no_folder_until_it_stores(self, tmp_path):
        (tmp_path / "file").touch()
        world = World(make_buffer(60, folder=tmp_path / "file" / "replay"))
        assert world.buffer.size() == 0
        assert not world.buffer.can_sample()
        assert len(world.buffer.state_arrays()["rewards"]) == 0
        with pytest.raises(ValueError, match="holds no sub-sequence"):
            world.buffer.sample(1)
        with pytest.raises(NotADirectoryError):
            world.play(1)

    def test_arrays_round_trip_through_memory_mapped_files(self, tmp_path):
        world = World(make_buffer(60, n_envs=2, folder=tmp_path))
        world.play(100)
        restored = make_buffer(60, n_envs=2, folder=tmp_path)
        restored.load_state_arrays(world.buffer.state_arrays())
        world.buffer = restored
        world.play(40)
        world.check(restored.sample(300))


def test_vec_normalize_normalises_what_is_drawn():
    class Constant(gym.Env):
        observation_space, action_space = OBSERVATIONS, ACTIONS

    normalize = VecNormalize(DummyVecEnv([Constant]), clip_obs=1.5, clip_reward=8.0)
    normalize.obs_rms.mean, normalize.obs_rms.var = np.array([0.0, 2.0, 5.0]), np.array([1.0, 4.0, 9.0])
    normalize.ret_rms.var = np.array(4.0)
    raw, twin = World(make_buffer()), World(make_buffer())
    for world in (raw, twin):
        world.play(50)
    plain, normalized = raw.buffer.sample(40), twin.buffer.sample(40, env=normalize)
    expected = (plain.observations.double() - torch.tensor([0.0, 2, 5])) / torch.tensor([1.0, 2, 3])
    torch.testing.assert_close(
        normalized.observations, expected.clamp(-1.5, 1.5).float(), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(normalized.rewards, (plain.rewards / 2).clamp(-8, 8), rtol=1e-4, atol=1e-4)
    assert all(tensor.dtype == torch.float32 for tensor in normalized[:4])
    assert torch.equal(normalized.actions, plain.actions)
    assert torch.equal(normalized.terminated, plain.terminated)


def test_batches_go_to_the_device():
    world = World(make_buffer(device="meta"))
    world.play(50)
    assert all(tensor.device.type == "meta" for tensor in world.buffer.sample(3)[:4])


class TestExtraFields:
    FIELDS: ClassVar = {"mark": ExtraField(2), "weight": ExtraField(1, 3.0)}

    @pytest.fixture
    def world(self):
        world = World(make_buffer(46, n_envs=2, extra_fields=self.FIELDS))
        world.play(60)
        return world

    def mark_all(self, buffer):
        """Write into each slot where it is."""
        slots, envs = np.indices((buffer.buffer_size, buffer.n_envs))
        buffer.rewrite(StoredSteps(slots, envs), mark=np.stack((slots, envs), -1))

    def test_steps_have_the_defaults(self, world):
        batch = world.buffer.sample(50)
        assert {name: value.shape for name, value in batch.extra.items()} == {
            "mark": (3, 50, 2),
            "weight": (3, 50, 1),
        }
        assert torch.all(batch.extra["mark"] == 0)
        assert torch.all(batch.extra["weight"] == 3)
        world.check(batch)

    def test_buffers_without_them_draw_nothing_more(self):
        world = World(make_buffer(60))
        world.play(50)
        batch = world.buffer.sample(5)
        assert batch.extra is None
        assert batch.stored is None

    def test_batches_say_where_steps_are_stored(self, world):
        self.mark_all(world.buffer)
        batch = world.buffer.sample(50)
        expected = np.stack((batch.stored.slots, batch.stored.envs), -1)
        np.testing.assert_array_equal(batch.extra["mark"].numpy(), expected)
        read = world.buffer.observations[batch.stored.slots, batch.stored.envs]
        np.testing.assert_array_equal(batch.observations[:-1].numpy(), read)

    def test_a_part_of_a_batch_is_rewritten_in_place(self, world):
        batch = world.buffer.sample(8)
        part = StoredSteps(batch.stored.slots[1:, :3], batch.stored.envs[1:, :3])
        world.buffer.rewrite(part, weight=np.full((2, 3, 1), 9.0))
        changed = np.zeros((world.buffer.buffer_size, 2), bool)
        changed[part.slots, part.envs] = True
        used = np.arange(world.buffer.buffer_size)[:, None] < world.buffer.filled
        is_step = used & (world.buffer.weight[..., 0] != 0)  # the last observation of an episode is none
        np.testing.assert_array_equal(world.buffer.weight[is_step, 0], np.where(changed, 9, 3)[is_step])
        assert torch.all(batch.extra["weight"] == 3), "a batch is a copy"

    def test_latest_steps_can_be_rewritten(self, world):
        for _ in range(30):
            world.play(1)
            steps = world.buffer.last_steps
            world.buffer.rewrite(steps, weight=np.array([[5.0], [6.0]]))
            np.testing.assert_array_equal(world.buffer.weight[steps.slots, steps.envs, 0], [5, 6])
        drawn = world.buffer.sample(400)
        assert set(drawn.extra["weight"].flatten().tolist()) <= {3, 5, 6}
        assert torch.all(
            drawn.extra["weight"][..., 0] != torch.where(drawn.observations[:-1, :, 0] == 0, 6, 5)
        )

    def test_slots_that_are_used_again_have_the_defaults(self, world):
        self.mark_all(world.buffer)
        world.play(60)
        assert torch.all(world.buffer.sample(50).extra["mark"] == 0)

    def test_they_are_saved(self, world, tmp_path):
        self.mark_all(world.buffer)
        restored = make_buffer(46, n_envs=2, extra_fields=self.FIELDS, folder=tmp_path)
        restored.load_state_arrays(world.buffer.state_arrays())
        restored.rng.bit_generator.state = world.buffer.rng.bit_generator.state
        expected = world.buffer.sample(50)
        for name, value in restored.sample(50).extra.items():
            assert torch.equal(value, expected.extra[name]), name
        assert expected.extra["mark"].abs().sum() > 0

    def test_names_that_are_taken_or_unknown(self, world):
        with pytest.raises(ValueError, match="extra_fields has 'rewards', which every replay buffer stores"):
            make_buffer(extra_fields={"rewards": ExtraField(1)})
        with pytest.raises(ValueError, match=r"'rewards' is no extra field.*\['mark', 'weight'\]"):
            world.buffer.rewrite(world.buffer.last_steps, rewards=np.zeros(2))
