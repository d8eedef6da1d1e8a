"""A planner asked for by name has the options that the backbone wants for it, whoever asks."""

import gymnasium as gym
import pytest

from dream_agents import BMPC, TDMPC2, DreamerV3, DreamMPC, make_planner
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.mppi import MPPIPlanner

ALGORITHM_3 = {
    "horizon": 15,
    "iterations": 1,
    "uncertainty_coef": 0.0,
    "return_lambda": 0.95,
    "exploration_std": 0.3,
    "proposal_noise": 0.2,
}
ROLES = ["planner", "training_planner", "replanner"]


@pytest.mark.parametrize("role", ["planner", "training_planner"])
class TestDreamOnDreamer:
    def test_constructor(self, dreamer, role):
        assert getattr(dreamer(**{role: "dream"}), role) == DreamPlanner(**ALGORITHM_3)

    def test_options_of_the_user_stand_above(self, dreamer, role):
        agent = dreamer(**{role: "dream", f"{role}_kwargs": {"horizon": 4, "step_size": 0.2}})
        assert getattr(agent, role) == DreamPlanner(**{**ALGORITHM_3, "horizon": 4, "step_size": 0.2})

    def test_setter(self, dreamer, role):
        agent = dreamer()
        setattr(agent, role, "dream")
        assert getattr(agent, role) == DreamPlanner(**ALGORITHM_3)

    def test_load(self, saved_agents, role):
        path = saved_agents("DreamerV3")
        agent = DreamerV3.load(path, device="cpu", **{role: "dream"})
        assert getattr(agent, role) == DreamPlanner(**ALGORITHM_3)
        agent = DreamerV3.load(path, device="cpu", **{role: "dream", f"{role}_kwargs": {"horizon": 4}})
        assert getattr(agent, role) == DreamPlanner(**{**ALGORITHM_3, "horizon": 4})

    def test_planner_is_taken_as_it_is(self, dreamer, role):
        mine = DreamPlanner()
        assert getattr(dreamer(**{role: mine}), role) is mine
        assert mine == DreamPlanner()


class TestDreamOnBMPC:
    @pytest.mark.parametrize("role", ROLES)
    def test_penalty_on_states(self, role, saved_agents):
        agent = BMPC.load(saved_agents("BMPC"), device="cpu", **{role: "dream"})
        assert getattr(agent, role) == DreamPlanner(uncertainty_coef=0.1)
        setattr(agent, role, "mppi")
        assert getattr(agent, role) == MPPIPlanner()
        setattr(agent, role, "dream")
        assert getattr(agent, role) == DreamPlanner(uncertainty_coef=0.1)

    def test_penalty_on_images(self):
        class Images(gym.Env):
            observation_space = gym.spaces.Box(0, 255, (3, 64, 64), "uint8")
            action_space = gym.spaces.Box(-1, 1, (1,))
            metadata = {"render_modes": [], "episodic": False}  # noqa: RUF012

        options = {"model_size": "1M", "obs_type": "pixels", "buffer_size": 100, "device": "cpu"}
        agent = DreamMPC(gym.wrappers.TimeLimit(Images(), 10), **options)
        assert agent.planner == DreamPlanner(uncertainty_coef=0.01)


def test_tdmpc2_has_the_planners_own_defaults(make_dream):
    assert make_dream().planner == make_planner("dream")


def test_agent_makes_planners_for_others(dreamer):
    agent = dreamer()
    assert agent.make_planner("dream", horizon=3) == DreamPlanner(**{**ALGORITHM_3, "horizon": 3})
    with pytest.raises(ValueError, match="its options are horizon"):
        agent.make_planner("dream", horizons=3)


def test_replanner_is_refused_where_nobody_imitates_it(make_dream):
    agent = make_dream()
    with pytest.raises(ValueError, match='"tdmpc2" does not imitate plans'):
        agent.replanner = "mppi"
    agent.replanner = None


@pytest.mark.parametrize("agent_class", [TDMPC2, BMPC, DreamMPC])
def test_agents_take_the_backbones_defaults_where_the_user_gives_none(agent_class):
    agent = agent_class("Pendulum-v1", backbone="dreamer", batch_size=8, buffer_size=1000, device="cpu")
    assert (agent.model_size, agent.gamma, agent.learning_starts, agent.batch_size) == ("1M", 0.997, 1000, 8)
