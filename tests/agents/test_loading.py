"""What ``load`` and ``set_env`` take, and that the agent knows its environment afterwards."""

import json
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.noise import NormalActionNoise

from dream_agents import BMPC, SAC, SACAE, TDMPC2, DreamerV3, DreamMPC
from dream_agents.planners.mppi import MPPIPlanner
from dream_agents.planners.policy import PolicyPlanner


@pytest.fixture
def saved(make_dream, tmp_path):
    """An agent in two environments with options of their own."""
    make_dream(env_kwargs={"g": 3.0}, n_envs=2).save(tmp_path / "agent")
    return tmp_path / "agent"


def gravity(agent):
    return agent.get_env().get_attr("g")


class TestEnvironment:
    def test_options_hold_for_the_same_id(self, saved):
        agent = DreamMPC.load(saved, env="Pendulum-v1", device="cpu")
        assert gravity(agent) == [3.0, 3.0]
        assert agent.task.env_kwargs == {"g": 3.0}

    def test_options_can_be_given(self, saved):
        agent = DreamMPC.load(saved, env="Pendulum-v1", env_kwargs={"g": 4.0}, n_envs=1, device="cpu")
        assert gravity(agent) == [4.0]

    def test_another_environment(self, make_dream, tmp_path):
        make_dream("dmc_walker-walk-v0").save(tmp_path / "walk")
        agent = DreamMPC.load(tmp_path / "walk", env="dmc_walker-run-v0", device="cpu")
        assert agent.task.env == "dmc_walker-run-v0"
        folder = agent.learn(30).save_checkpoint(tmp_path / "checkpoints")
        assert DreamMPC.load_checkpoint(folder, device="cpu").task.env == "dmc_walker-run-v0"
        agent.set_env("dmc_walker-stand-v0")
        assert agent.task.env == "dmc_walker-stand-v0"

    def test_an_object_has_no_id_to_make_it_again(self, saved):
        agent = DreamMPC.load(saved, env=gym.make("Pendulum-v1", g=7.0), device="cpu")
        assert agent.task.env is None
        assert gravity(agent) == [7.0]

    def test_checkpoint_with_its_id(self, make_dream, tmp_path):
        folder = make_dream(n_envs=3).learn(60).save_checkpoint(tmp_path)
        agent = DreamMPC.load_checkpoint(folder, env="Pendulum-v1", device="cpu")
        assert agent.n_envs == 3
        agent.learn(30, reset_num_timesteps=False)


class TestKeywords:
    def test_planners(self, saved):
        options = {
            "planner": "mppi",
            "planner_kwargs": {"samples": 40, "elites": 4},
            "training_planner": "policy",
        }
        agent = DreamMPC.load(saved, env="Pendulum-v1", device="cpu", **options)
        assert agent.planner == agent.policy.planner == MPPIPlanner(samples=40, elites=4)
        assert agent.training_planner == PolicyPlanner()
        assert agent.learn(40).num_timesteps == 40

    def test_learner(self, saved):
        agent = DreamMPC.load(
            saved, device="cpu", learner_kwargs={"autocast": "bfloat16"}, learning_rate=1e-5
        )
        assert agent.learner.config.autocast == "bfloat16"
        assert agent.lr_schedule(1.0) == 1e-5

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"model_size": "5M"}, "model_size: the saved weights decide"),
            ({"planner_kwargs": {"horizon": 2}}, "without a planner"),
            ({"learner_kwargs": {"depth": 2}}, "has no depth"),
            ({"tau": 5}, "tau=5 must be from 0 to 1"),
            ({"seed": -1}, "seed=-1 must be at least 0"),
            ({"learning_rate": -1}, "learning_rate=-1 must be above 0"),
            ({"train_freq": (0, "step")}, "train_freq=0 must be above 0"),
            ({"replanner": "mppi"}, "replanner='mppi': .*does not imitate plans"),
        ],
    )
    def test_mistakes(self, saved, keywords, message):
        with pytest.raises(ValueError, match=message):
            DreamMPC.load(saved, device="cpu", **keywords)


def test_tasks_of_version_0_1_seed_their_episodes(make_dream, tmp_path):
    agent = make_dream()
    del vars(agent.task)["seeds_episodes"]  # which version 0.1 did not save
    agent.save(tmp_path / "agent")
    loaded = DreamMPC.load(tmp_path / "agent", "Pendulum-v1", device="cpu")
    assert loaded.task.seeds_episodes
    assert loaded.env.has_attr("episode_seeding_state")


def test_training_planner_by_name(make_dream):
    agent = make_dream()
    agent.training_planner = "policy"
    assert agent.learn(40).training_planner == PolicyPlanner()
    agent.training_planner = None
    agent.learn(40)


def test_set_random_seed_makes_a_run_repeatable(make_dream):
    weights = make_dream().policy.state_dict()

    def learn(seed):
        agent = make_dream(seed=None)
        agent.policy.load_state_dict(weights)
        agent.set_random_seed(seed)
        agent.learn(40)
        return torch.nn.utils.parameters_to_vector(agent.policy.parameters())

    assert torch.equal(learn(np.int64(5)), learn(5))
    assert not torch.equal(learn(5), learn(6))


class Bright(gym.Env):
    """Observes one grey image."""

    observation_space = gym.spaces.Box(0, 255, (3, 48, 48), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        return np.full((3, 48, 48), 99, np.uint8), {}

    def step(self, action):
        return np.full((3, 48, 48), 99, np.uint8), 0.0, False, False, {}


CLASSES = {
    "TDMPC2": TDMPC2,
    "BMPC": BMPC,
    "DreamerV3": DreamerV3,
    "DreamMPC": DreamMPC,
    "SAC": SAC,
    "SACAE": SACAE,
}
#: DreamMPC plans in any world model, and the DreamMPC that is saved here has TD-MPC2's
TAKEN = {("DreamMPC", "TDMPC2"), ("DreamMPC", "BMPC"), ("DreamMPC", "DreamerV3"), ("TDMPC2", "DreamMPC")}


@pytest.fixture(scope="module")
def path_of(saved_agents, tmp_path_factory):
    """Path of a saved agent by name of its class."""
    folder = tmp_path_factory.mktemp("files")

    def get(name):
        path = folder / f"{name}.zip"
        if name in ("SAC", "SACAE") and not path.exists():
            env = "Pendulum-v1" if name == "SAC" else Bright()
            CLASSES[name](env, device="cpu", buffer_size=10, learning_starts=5).save(path)
        return path if path.exists() else saved_agents(name)

    return get


class TestOwner:
    @pytest.mark.parametrize("saved_by", CLASSES)
    @pytest.mark.parametrize("agent", CLASSES)
    def test_files_of_other_agents_say_whose_they_are(self, path_of, agent, saved_by):
        path, load = path_of(saved_by), CLASSES[agent].load
        if agent == saved_by or (agent, saved_by) in TAKEN:
            assert type(load(path, device="cpu")) is CLASSES[agent]
            return
        with pytest.raises(
            ValueError, match=rf"was saved by {saved_by}\b.* not by {agent}; .*{saved_by}\.load"
        ):
            load(path, device="cpu")

    @pytest.mark.parametrize("saved_by", ["TDMPC2", "BMPC", "DreamerV3", "SAC"])
    def test_so_do_those_of_version_0_1(self, path_of, tmp_path, saved_by):
        contents = {}
        with zipfile.ZipFile(path_of(saved_by)) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        data = json.loads(contents["data"])
        del data["saved_by"]
        with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
            for name, content in (contents | {"data": json.dumps(data).encode()}).items():
                archive.writestr(name, content)
        assert CLASSES[saved_by].load(tmp_path / "old.zip", device="cpu").num_timesteps >= 0
        other = SACAE if saved_by == "SAC" else SAC
        with pytest.raises(
            ValueError, match=rf"was saved by {saved_by}, not by {other.__name__}; load it with"
        ):
            other.load(tmp_path / "old.zip", device="cpu")

    def test_saved_again_it_is_of_who_saved_it_last(self, path_of, tmp_path):
        DreamMPC.load(path_of("DreamerV3"), device="cpu").save(tmp_path / "again")
        assert isinstance(DreamMPC.load(tmp_path / "again", device="cpu"), DreamMPC)
        with pytest.raises(
            ValueError, match=r"saved by DreamMPC .*not by TDMPC2; load it with DreamMPC\.load, which plans"
        ):
            TDMPC2.load(tmp_path / "again", device="cpu")


@pytest.mark.parametrize("agent", ["world model", "SAC"])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_action_noise_is_for_as_many_environments_as_there_are(make_dream, tmp_path, agent, before, after):
    options = {"action_noise": NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))}
    if agent == "world model":
        model = make_dream(n_envs=before, **options)
    else:
        model = SAC("Pendulum-v1", n_envs=before, device="cpu", buffer_size=100, learning_starts=5, **options)
    model.learn(24).save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", "Pendulum-v1", n_envs=after, device="cpu")
    assert loaded.learn(24).num_timesteps == 24
