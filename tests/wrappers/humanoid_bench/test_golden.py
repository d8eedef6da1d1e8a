"""Single decisions from recorded states, compared with what the original benchmark gave on MuJoCo 3.1.6."""

import functools

import mujoco
import numpy as np
import pytest

from dream_agents.wrappers.humanoid_bench.environment import HumanoidBenchEnv

from .conftest import ALL, parts, sample_of

SAMPLE_ROWS = 6
SAMPLED = ("qpos", "qvel", "action", "goal", "maze_stage", "reward", "terminated", "next_qpos")
"""What `tests/data/humanoid_bench.npz` has of each file."""
SCALES = {"info/motion_penalty": 1e-4}
"""Weight in the reward of a term that is not about 1."""


@pytest.fixture(scope="module")
def golden(shared):
    """Return the recorded rows of an environment."""
    folder = shared / "golden" / "humanoid_bench"
    if not folder.is_dir():
        pytest.skip(f"no golden values in {folder}")
    return functools.cache(lambda id: dict(np.load(folder / f"{id.removeprefix('humanoid_')}.npz")))


@pytest.fixture(scope="module")
def sample(checkout):
    """The few rows of each file that the repository has, by environment."""
    with np.load(checkout / "tests" / "data" / "humanoid_bench.npz") as arrays:
        return {id: {key: arrays[f"{id}/{key}"] for key in SAMPLED} for id in ALL}


def make(id, geometry):
    robot, task = parts(id)
    return HumanoidBenchEnv(robot, task, geometry=geometry)


def put(env, rows, i):
    """Put the environment in the state before row i."""
    goal, stage = rows["goal"][i].astype(float), int(rows["maze_stage"][i])
    env.set_state(rows["qpos"][i], rows["qvel"][i], goal=goal, stage=stage)


def replay(env, rows):
    """Return the absolute errors of every row: reward, next qpos' largest, terms' largest, and of the ends."""
    errors = {"reward": [], "next_qpos": [], "terms": [], "terminated": [], "obs": []}
    terms = [key for key in rows if key.startswith("info/") and key != "info/per_timestep_reward"]
    for i in range(len(rows["reward"])):
        put(env, rows, i)
        observation, reward, terminated, _, info = env.step(rows["action"][i])
        errors["reward"].append(reward - rows["reward"][i])
        errors["next_qpos"].append(np.abs(env.data.qpos - rows["next_qpos"][i]).max())
        differences = [(info[key.removeprefix("info/")] - rows[key][i]) * SCALES.get(key, 1) for key in terms]
        errors["terms"].append(np.abs(differences).max(initial=0))
        errors["terminated"].append(terminated != rows["terminated"][i])
        if "obs" in rows:
            assert observation.shape == rows["obs"][i].shape
            errors["obs"].append(np.abs(observation - rows["obs"][i]).max())
    return {key: np.abs(values) for key, values in errors.items()}


def touches_nothing(env, rows):
    """Tell for each row whether there is no contact in any of the decision's ten steps."""
    low, high = env.model.actuator_ctrlrange.T
    free = []
    for i in range(len(rows["reward"])):
        put(env, rows, i)
        env.data.ctrl[:] = low + (rows["action"][i].astype(float) + 1) / 2 * (high - low)
        contacts = env.data.ncon
        for _ in range(10):
            mujoco.mj_step(env.model, env.data)
            contacts += env.data.ncon
        free.append(contacts == 0)
    return np.array(free)


@pytest.mark.parametrize("id", ALL)
def test_builtin_geometry_gives_nearly_what_was_recorded(id, golden):
    errors = replay(make(id, "builtin"), golden(id))
    assert np.median(errors["reward"]) <= 5e-3
    assert np.mean(errors["reward"] <= 0.1) >= 0.9
    assert np.median(errors["terms"]) <= 5e-3
    assert np.mean(errors["terms"] <= 0.05) >= 0.9
    assert errors["terminated"].mean() <= 0.02


# Recorded on MuJoCo 3.1.6, whose contacts newer releases change a little.
OLD = tuple(map(int, mujoco.__version__.split(".")[:2])) < (3, 4)
OFFICIAL_MEDIAN, OFFICIAL_BALANCE, OFFICIAL_TERMS = (1e-3, 1e-2, 1e-3) if OLD else (4e-3, 2e-2, 2e-3)


@pytest.mark.parametrize("id", sample_of())
def test_official_geometry_gives_what_was_recorded(id, golden, official_files):
    errors = replay(make(id, "official"), golden(id))
    assert np.median(errors["reward"]) <= 1e-3
    assert np.mean(errors["reward"] <= 0.03) >= 0.9
    assert np.median(errors["next_qpos"]) <= (OFFICIAL_BALANCE if "balance" in id else OFFICIAL_MEDIAN)
    assert np.median(errors["terms"]) <= OFFICIAL_TERMS
    assert np.mean(errors["terms"] <= 0.01) >= 0.9
    assert errors["terminated"].mean() <= 0.01


# Of the others, no recorded row is without a contact.
IN_THE_AIR = [id for id in ALL if "balance" not in id and id != "humanoid_h1hand-sit_hard-v0"]


@pytest.mark.parametrize("id", IN_THE_AIR)
def test_in_the_air_the_builtin_robot_moves_as_recorded(id, golden):
    env, rows = make(id, "builtin"), golden(id)
    free = touches_nothing(env, rows)
    assert free.any()
    errors = replay(env, {key: values[free] for key, values in rows.items()})
    assert np.median(errors["next_qpos"]) <= 1e-5
    assert np.median(errors["obs"]) <= 1e-4
    assert np.median(errors["reward"]) <= 1e-6
    assert np.median(errors["terms"]) <= 1e-6


@pytest.mark.parametrize("id", sample_of(IN_THE_AIR, ["humanoid_h1-maze-v0", "humanoid_h1hand-reach-v0"]))
def test_where_the_original_touches_nothing_the_builtin_robot_moves_as_recorded(id, golden, official_files):
    rows = golden(id)
    free = touches_nothing(make(id, "official"), rows)
    errors = replay(make(id, "builtin"), {key: values[free] for key, values in rows.items()})
    assert np.median(errors["next_qpos"]) <= 1e-4


@pytest.mark.parametrize("id", ALL)
def test_recorded_episodes_start_where_ours_do(id, golden):
    rows, env = golden(id), make(id, "builtin")
    home = env.reset(seed=0)[0]
    for episode in range(4):  # later ones start elsewhere on purpose
        start = rows["qpos"][np.flatnonzero(rows["episode"] == episode)[0]]
        if "sit_hard" in id:
            assert 0.2 <= start[0] <= 0.4 and abs(start[1]) <= 0.15 and start[4] == start[5] == 0
        first = 7 if "sit_hard" in id else 0
        np.testing.assert_allclose(start[first:], env.data.qpos[first:], atol=0.02)
    assert home.shape == rows["obs_before"][0].shape


def test_the_repositorys_own_rows_are_given_again(sample):
    """Without the recordings, on a clone of the repository alone."""
    every = [replay(make(id, "builtin"), sample[id]) for id in ALL]
    errors, ends = (np.concatenate([one[key] for one in every]) for key in ("reward", "terminated"))
    assert len(errors) == SAMPLE_ROWS * 28
    assert np.median(errors) <= 5e-3
    assert np.mean(errors <= 0.1) >= 0.9
    assert ends.mean() <= 0.02
    assert len(np.unique([rows["reward"] for rows in sample.values()])) > 100


@pytest.mark.parametrize("id", ALL)
def test_the_repositorys_rows_are_of_the_recordings(id, sample, golden):
    expected = sample_rows(golden(id))
    for key in SAMPLED:
        np.testing.assert_array_equal(sample[id][key], expected[key])


def sample_rows(rows):
    """Return rows spread over the episodes, in single precision, as `tests/data/README.md` writes them."""
    chosen = np.linspace(0, len(rows["reward"]) - 1, SAMPLE_ROWS).round().astype(int)
    single = {"qpos": np.float32, "qvel": np.float32, "next_qpos": np.float32, "maze_stage": np.int8}
    return {key: rows[key][chosen].astype(single.get(key, rows[key].dtype)) for key in SAMPLED}
