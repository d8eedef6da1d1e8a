"""What agents do for a policy that imitates their planner."""

import numpy as np
import pytest
import torch

from dream_agents import BMPC, DreamMPC, make_planner, zoo
from dream_agents.learners.bmpc import BMPCLearner
from dream_agents.models.bmpc import BMPCWorldModel
from dream_agents.models.tdmpc import TDMPCSize, TDMPCWorldModel
from dream_agents.planners.adaptive import AdaptivePlanner
from dream_agents.planners.dream import DreamPlanner
from dream_agents.planners.mppi import MPPIPlanner

SMALL = {"samples": 24, "policy_samples": 4, "elites": 6, "iterations": 2}
TINY = {
    "model_size": TDMPCSize(16, 16, 16, 2, 2),
    "learning_starts": 20,
    "batch_size": 16,
    "buffer_size": 500,
}


class Recorder:
    """A planner that keeps the number of observations and the plan of every call."""

    def __init__(self, planner):
        self.planner, self.sizes, self.plans = planner, [], []

    def initial_memory(self, model, batch_size):
        return self.planner.initial_memory(model, batch_size)

    def plan(self, model, z, *args, **kwargs):
        plan = self.planner.plan(model, z, *args, **kwargs)
        self.sizes.append(len(z))
        self.plans.append(plan)
        return plan


@pytest.fixture
def make():
    def make(agent_class=BMPC, **kwargs):
        options = {"device": "cpu", "seed": 0, **TINY, **kwargs}
        if agent_class is BMPC:
            options.setdefault("planner", make_planner("mppi", **SMALL))
        return agent_class("Pendulum-v1", **options)

    return make


@pytest.fixture
def make_recorder():
    return lambda: Recorder(make_planner("mppi", **SMALL))


class TestRoles:
    def test_bmpc_plans_with_mppi(self, make):
        agent = BMPC("Pendulum-v1", device="cpu", **TINY)
        assert isinstance(agent.world_model, BMPCWorldModel)
        assert isinstance(agent.learner, BMPCLearner)
        assert isinstance(agent.planner, MPPIPlanner)
        assert agent.training_planner is None
        assert agent.replanner is None

    def test_dream_mpc_learns_with_the_adaptive_planner_and_acts_with_dream(self, make):
        agent = make(DreamMPC)
        assert agent.backbone_name == "bmpc"
        assert agent.training_planner == AdaptivePlanner(samples=6, wide=12, temperature=0.3)
        assert agent.expert is agent.training_planner
        assert isinstance(agent.planner, DreamPlanner)

    def test_on_tdmpc2_it_does_so_unless_another_planner_is_asked_for(self, make):
        agent = make(DreamMPC, backbone="tdmpc2")
        assert isinstance(agent.world_model, TDMPCWorldModel)
        assert agent.training_planner == AdaptivePlanner(exploration_std=0.2)
        assert make(DreamMPC, backbone="tdmpc2", training_planner="dream").training_planner == DreamPlanner()
        assert make(DreamMPC, backbone="tdmpc2", planner="policy").training_planner is None

    def test_dream_mpc_can_learn_with_dream_on_bmpc(self, make):
        agent = make(DreamMPC, training_planner="dream", training_planner_kwargs={"expert_std": 0.1}).learn(
            40
        )
        assert agent.replay_buffer.plan_std[20:40].tolist() == pytest.approx(np.full((20, 1, 1), 0.1))

    def test_options_for_learning_need_no_name(self, make):
        agent = make(DreamMPC, training_planner_kwargs={"samples": 24})
        assert agent.training_planner == AdaptivePlanner(samples=24, wide=12, temperature=0.3)


class TestPlansInReplay:
    def test_random_decisions_have_a_standard_normal_and_planned_ones_their_plan(self, make, make_recorder):
        recorder = make_recorder()
        agent = make(planner=recorder, learner_kwargs={"reanalyze_interval": 0}).learn(50)
        buffer = agent.replay_buffer
        assert np.all(buffer.plan_mean[:20] == 0)
        assert np.all(buffer.plan_std[:20] == 1)
        assert len(recorder.plans) == 30
        for slot, plan in enumerate(recorder.plans, start=20):
            np.testing.assert_array_equal(buffer.plan_mean[slot], plan.mean.numpy())
            np.testing.assert_array_equal(buffer.plan_std[slot], plan.std.numpy())
            np.testing.assert_array_equal(buffer.actions[slot], plan.action.numpy())

    def test_each_environment_has_its_own(self, make, make_recorder):
        recorder = make_recorder()
        agent = make(planner=recorder, n_envs=3, learner_kwargs={"reanalyze_interval": 0}).learn(60)
        for slot, plan in enumerate(recorder.plans, start=20 - len(recorder.plans)):
            np.testing.assert_array_equal(agent.replay_buffer.plan_mean[slot], plan.mean.numpy())
        assert np.all(agent.replay_buffer.plan_std[: 20 - len(recorder.plans)] == 1)

    def test_other_backbones_store_none(self, make):
        agent = make(DreamMPC, backbone="tdmpc2").learn(25)
        assert agent.replay_buffer.extra_fields == {}


class TestLearning:
    def test_policy_stays_as_it_is_in_the_seed_phase(self, make):
        agent = make()
        before = agent.world_model.policy_head[0].weight.detach().clone()
        agent.learn(21)  # 20 updates for the random decisions, one for the planned one
        assert agent._n_updates == 21
        assert agent.learner.imitations == 1
        assert not torch.equal(agent.world_model.policy_head[0].weight, before)
        assert agent.learner.optimizers["policy"].state_dict()["state"][0]["step"] == 1

    def test_the_planner_that_acts_is_the_expert(self, make, make_recorder):
        recorder = make_recorder()
        make(planner=recorder, batch_size=30).learn(50)
        assert (
            sorted(recorder.sizes) == [1] * 30 + [60] * 3
        )  # every 10th of 30 updates, 20 sequences of 3 steps

    def test_replanner_is_the_expert_of_reanalyze_only(self, make, make_recorder):
        acting, expert = make_recorder(), make_recorder()
        agent = make(planner=acting, replanner=expert, learner_kwargs={"reanalyze_batch": 4}).learn(40)
        assert acting.sizes == [1] * 20
        assert expert.sizes == [12] * 2
        stored = np.isin(expert.plans[-1].mean.numpy(), agent.replay_buffer.plan_mean)
        assert stored.mean() > 0.5  # where sub-sequences overlap, the last plan stays

    def test_replanner_by_name(self, make):
        agent = make(replanner="dream", replanner_kwargs={"expert_std": 0.25})
        assert agent.replanner.expert_std == 0.25
        agent.replanner = "policy"
        assert type(agent.replanner).__name__ == "PolicyPlanner"
        agent.replanner = None
        assert agent.replanner is None

    def test_senseless_replanners(self, make):
        with pytest.raises(ValueError, match="replanner_kwargs are given without a replanner"):
            make(replanner_kwargs={"expert_std": 0.25})
        with pytest.raises(ValueError, match=r"replanner='dream': the backbone \"tdmpc2\" does not imitate"):
            make(DreamMPC, backbone="tdmpc2", replanner="dream")

    def test_resumed_run_plans_anew_where_the_other_would_have(self, make, tmp_path):
        agent = make(replanner="dream").learn(26)
        agent.save(tmp_path / "agent")
        loaded = BMPC.load(tmp_path / "agent", "Pendulum-v1", device="cpu")
        assert loaded.learner.imitations == 6
        assert isinstance(loaded.replanner, DreamPlanner)
        other = BMPC.load(tmp_path / "agent", replanner="mppi", replanner_kwargs=SMALL, device="cpu")
        assert other.replanner.samples == 24


def test_images_are_observed(make):
    pixels = {"model_kwargs": {"num_channels": 8}, "batch_size": 8, "buffer_size": 200}
    agent = BMPC(
        "dmc_cartpole-balance-v0",
        obs_type="pixels",
        device="cpu",
        seed=0,
        planner_kwargs=SMALL,
        **{**TINY, **pixels, "learner_kwargs": {"reanalyze_interval": 2}},
    ).learn(24)
    assert agent.learner.imitations == 4
    assert np.all(agent.replay_buffer.plan_std[20:24] <= 2)


def test_zoo_stores_it(make, tmp_path):
    agent = make(planner="dream").learn(25)
    zoo.save(agent, tmp_path / "bmpc-pendulum")
    card = zoo.verify(tmp_path / "bmpc-pendulum")
    assert (card.agent, card.backbone, card.planner) == ("bmpc", "bmpc", "dream")
    loaded = zoo.load(tmp_path / "bmpc-pendulum", device="cpu")
    assert type(loaded) is BMPC
    obs = agent.env.reset()
    np.testing.assert_allclose(
        loaded.predict(obs, deterministic=True)[0], agent.predict(obs, deterministic=True)[0], atol=0.01
    )
