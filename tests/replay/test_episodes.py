"""Replay that draws every finished episode equally often."""

from collections import Counter

import numpy as np
import pytest
from gymnasium import spaces

from dream_agents.replay import SequenceReplayBuffer
from dream_agents.replay.stream import StreamReplayBuffer

BOX, ACTION = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Box(-1, 1, (1,), np.float32)


def make_buffer(size=4000, sampling="episodes", **options):
    return SequenceReplayBuffer(size, BOX, ACTION, device="cpu", seed=0, sampling=sampling, **options)


def play(buffer, *lengths, first=1, ends=True):
    """Episodes whose observations are (episode, step)."""
    for episode, length in enumerate(lengths, first):
        for step in range(length):
            obs, after = (
                np.tile(np.array([episode, t], np.float32), (buffer.n_envs, 1)) for t in (step, step + 1)
            )
            done = np.full(buffer.n_envs, ends and step + 1 == length)
            zeros = np.zeros(buffer.n_envs)
            buffer.add(obs, after, zeros[:, None], zeros, done, [{}] * buffer.n_envs)
    return buffer


def starts(buffer, draws=20_000):
    """How often each (episode, step) was drawn."""
    first = buffer.sample(draws).observations[0].int().tolist()
    return Counter(map(tuple, first))


def share_of(counts, episodes):
    return sum(n for (episode, _), n in counts.items() if episode in episodes) / counts.total()


@pytest.mark.parametrize(("sampling", "share"), [("steps", 0.265), ("episodes", 20 / 21)])
def test_short_episodes_among_long_ones(sampling, share):
    """20 episodes of 20 steps and one of 1000: the short ones get 27% of the draws, or 95%."""
    buffer = play(make_buffer(sampling=sampling), *[20] * 20, 1000)
    assert share_of(starts(buffer), range(1, 21)) == pytest.approx(share, abs=0.015)


def test_each_start_of_an_episode_is_drawn_equally_often():
    counts = starts(play(make_buffer(), 6, 13))  # 4 and 11 starts of sub-sequences of 3 steps
    assert {step for episode, step in counts if episode == 1} == set(range(4))
    assert {step for episode, step in counts if episode == 2} == set(range(11))
    for (episode, _), n in counts.items():
        assert n == pytest.approx(10_000 / (4 if episode == 1 else 11), rel=0.15)


def test_an_episode_that_goes_on_waits_for_its_end():
    buffer = play(make_buffer(), 8, 8)
    play(buffer, 8, first=3, ends=False)
    assert {episode for episode, _ in starts(buffer, 500)} == {1, 2}
    play(buffer, 1, first=4)
    assert share_of(starts(buffer), {3}) == pytest.approx(1 / 3, abs=0.02)


def test_the_first_episode_is_drawn_while_it_goes_on():
    """Learning can begin, also in an environment whose episodes never end."""
    buffer = play(make_buffer(), 12, ends=False)
    assert set(starts(buffer, 500)) == {(1, step) for step in range(9)}


def test_an_episode_that_is_half_overwritten_is_drawn_as_often_as_others():
    buffer = make_buffer(size=46)
    play(buffer, *[10] * 4)  # 44 slots
    for episode in range(5, 30):
        play(buffer, 7, first=episode, ends=False)
        kept = starts(buffer, 3000)
        finished = {episode for episode, _ in kept}
        assert finished <= set(range(1, episode))
        for one in finished:
            assert share_of(kept, {one}) == pytest.approx(1 / len(finished), abs=0.05)
        stored = {(int(e), int(s)) for e, s in buffer.observations[:, 0]}
        assert all((e, s + step) in stored for e, s in kept for step in range(4))
        buffer.start_episodes()


def test_several_environments():
    buffer = make_buffer(n_envs=3)
    play(buffer, 5, 9)
    _, envs = buffer._draw_starts(9000)
    assert np.bincount(envs) == pytest.approx([3000] * 3, rel=0.06)


def test_short_ones_count_where_they_are_drawn():
    assert share_of(starts(play(make_buffer(short_episodes=True), 2, 10)), {1}) == pytest.approx(
        0.5, abs=0.02
    )
    assert share_of(starts(play(make_buffer(), 2, 10)), {1}) == 0


def test_state_arrays_travel():
    buffer, other = play(make_buffer(), *[20] * 5, 100), make_buffer()
    other.load_state_arrays(buffer.state_arrays())
    other.rng = np.random.default_rng(3)
    buffer.rng = np.random.default_rng(3)
    assert starts(other, 200) == starts(buffer, 200)


def test_no_python_loop_over_the_batch(lines_to_sample):
    buffer = play(make_buffer(size=500), *[30] * 40)
    few = lines_to_sample(buffer, 64)
    assert lines_to_sample(buffer, 4096) < 2 * few


def test_other_words_are_refused():
    with pytest.raises(
        ValueError, match="sampling='episode': SequenceReplayBuffer takes 'steps' or 'episodes'"
    ):
        make_buffer(sampling="episode")
    with pytest.raises(ValueError, match="StreamReplayBuffer takes 'steps'"):
        StreamReplayBuffer(100, BOX, ACTION, device="cpu", sampling="episodes")
