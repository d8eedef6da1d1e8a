"""Mistakes in what an agent is given are answered with what to do."""

import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import PendulumEnv

from dream_agents import SAC, TDMPC2, DreamMPC


class OldReset(PendulumEnv):
    """Its reset takes no options."""

    def reset(self, *, seed=None):
        return super().reset(seed=seed)


class OldestReset(PendulumEnv):
    """Its reset takes nothing, as Gym's did."""

    def reset(self):
        return super().reset()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_freq": "4"}, r"train_freq='4' is a str; write a number, or e\.g\. \(1, \"episode\"\)"),
        ({"train_freq": ("4", "step")}, "train_freq='4' is a str"),
        ({"batch_size": "8"}, "batch_size='8' is a str; write a number"),
        ({"learning_starts": [100]}, r"learning_starts=\[100\] is a list"),
        ({"gamma": True}, "gamma=True is a bool"),
        ({"tau": "high"}, "tau='high' is a str"),
        ({"batch_size": 2.5}, "batch_size=2.5 must be a whole number; write batch_size=2"),
        ({"buffer_size": 1e4}, "buffer_size=10000.0 must be a whole number; write buffer_size=10000"),
        ({"buffer_size": 0}, "buffer_size=0 must be above 0"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
    ],
)
def test_what_is_no_number_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        TDMPC2("Pendulum-v1", model_size="1M", device="cpu", **options)


@pytest.mark.parametrize("policy", ["MlpPolicy", "MultiInputPolicy", "WorldModelPolicy"])
def test_names_of_stable_baselines3s_policies_are_understood(make_dream, policy):
    for first, second in (("Pendulum-v1", policy), (policy, "Pendulum-v1")):
        model = TDMPC2(first, second, model_size="1M", device="cpu", buffer_size=100)
        assert model.task.env == "Pendulum-v1"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("CnnPolicy", '"CnnPolicy" is for images.*obs_type="pixels"'),
        ("MultiInputPolicy", "are flattened; leave"),
    ],
)
def test_policy_of_sac_for_other_observations_says_what_to_do(policy, message):
    with pytest.raises(ValueError, match=message):
        SAC("Pendulum-v1", policy, device="cpu", buffer_size=100)


@pytest.mark.parametrize(
    ("env", "message"), [(OldReset, "reset takes no options"), (OldestReset, "takes no seed and no options")]
)
def test_environment_with_an_older_reset_says_what_to_write(env, message):
    with pytest.raises(ValueError, match=rf"{env.__name__}.*{message}.*write def reset\(self, \*, seed=None"):
        DreamMPC(env(), device="cpu")


@pytest.mark.parametrize("agent", [DreamMPC, TDMPC2, SAC])
@pytest.mark.parametrize("given", [None, "MlpPolicy", "CnnPolicy"])
def test_agent_without_an_environment_says_what_one_is(agent, given):
    with pytest.raises(ValueError, match=f"{agent.__name__} has no environment.*dream-agents envs"):
        agent(given)


@pytest.mark.parametrize("arguments", [(), ("Pendulum-v1",)])
def test_option_of_a_part_says_where_it_belongs(arguments):
    with pytest.raises(
        TypeError, match=r"horizon is no keyword of DreamMPC.*planner_kwargs=\{'horizon': 3\}"
    ):
        DreamMPC(*arguments, horizon=3)
    with pytest.raises(TypeError, match=r"write learner_kwargs=\{'consistency_coef': 1\}"):
        TDMPC2(*arguments, consistency_coef=1)
    with pytest.raises(TypeError, match="nosuch"):
        TDMPC2("Pendulum-v1", nosuch=3)


@pytest.mark.parametrize("agent", [TDMPC2, SAC])
def test_replay_that_does_not_fit_into_memory_says_what_to_set(agent, monkeypatch):
    def no_memory(*args, **kwargs):
        raise MemoryError("Unable to allocate 103. GiB for an array")

    for place in (
        "dream_agents.replay.SequenceReplayBuffer",
        "stable_baselines3.common.buffers.ReplayBuffer",
    ):
        monkeypatch.setattr(f"{place}.__init__", no_memory)
    with pytest.raises(
        ValueError, match=r"buffer_size=123: .* 103\. GiB.*smaller buffer_size.*replay_buffer_kwargs"
    ):
        agent("Pendulum-v1", device="cpu", buffer_size=123)


def test_policy_can_be_called(make_dream):
    model = make_dream(planner="policy")
    obs = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -0.5]], np.float32)
    expected = model.policy.scale_action(model.predict(obs, deterministic=True)[0])
    for given in (obs, torch.from_numpy(obs)):
        np.testing.assert_allclose(model.policy(given, deterministic=True).numpy(), expected, atol=1e-6)
