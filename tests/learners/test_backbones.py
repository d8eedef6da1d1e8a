"""What a backbone says of itself, and how one that says too little is refused."""

import dataclasses

import pytest

from dream_agents import registry
from dream_agents.learners.base import Backbone, get_backbone, planner_kwargs
from dream_agents.planners.dream import DreamPlanner
from dream_agents.replay import SequenceReplayBuffer
from dream_agents.replay.stream import StreamReplayBuffer


class Least(Backbone):
    """A backbone with nothing but what it has to have."""

    @staticmethod
    def build_world_model(obs_shape, action_dim, model_size, discount, episodic, **kwargs):
        raise NotImplementedError

    @staticmethod
    def build_learner(world_model, config, learning_rate, tau, generator):
        raise NotImplementedError


@pytest.fixture
def register(monkeypatch):
    """Give a class the name "mine" for this test."""

    def register(thing):
        monkeypatch.setitem(registry.backbones._registered, "mine", thing)

    return register


def test_every_other_hook_has_a_default(register):
    register(Least)
    backbone = get_backbone("mine")
    config = backbone.config_class()
    assert (backbone.sequence_length(config), backbone.replay_buffer_class) == (3, SequenceReplayBuffer)
    assert (backbone.imitates_planner, backbone.default_training_planner) == (False, None)
    assert (backbone.size_class, backbone.agent_defaults) == (None, {})
    assert backbone.planner_options("dream", "state") == {}


@pytest.mark.parametrize("name", registry.backbones.names())
def test_built_in_ones_name_their_sizes_and_the_length_of_their_sequences(name):
    backbone = get_backbone(name)
    assert dataclasses.is_dataclass(backbone.size_class)
    config = backbone.config_class()
    streams = issubclass(backbone.replay_buffer_class, StreamReplayBuffer)
    assert backbone.sequence_length(config) == (config.sequence_length if streams else config.horizon)
    # PlaNet's trains no policy, and refuses planners that ask for one.
    for planner in ("cem", "grad") if name == "planet" else registry.planners.names():
        registry.planners.get(planner)(**backbone.planner_options(planner, "state"))


def test_class_without_the_base_is_refused_with_the_way_out(register):
    class Structural:
        """Has the methods, but not the defaults."""

        build_world_model, build_learner = Least.build_world_model, Least.build_learner

    register(Structural)
    with pytest.raises(
        TypeError, match=r'"mine" is .*Structural.*subclass of dream_agents\.learners\.base\.B'
    ):
        get_backbone("mine")


def test_missing_hooks_are_named(register):
    class Half(Backbone):
        """Makes no learner."""

        build_world_model = Least.build_world_model

    register(Half)
    with pytest.raises(TypeError, match=r'"mine" \(Half\) has to define build_learner'):
        get_backbone("mine")


def test_options_of_the_user_stand_above_the_backbones():
    dreamer = get_backbone("dreamer")
    options = planner_kwargs(dreamer, "state", "dream", {"horizon": 2})
    assert (options["horizon"], options["proposal_noise"]) == (2, 0.2)
    assert planner_kwargs(dreamer, "state", "mppi", None) == {}
    assert planner_kwargs(dreamer, "state", DreamPlanner(), None) == {}
    assert planner_kwargs(dreamer, "state", None, {"horizon": 2}) == {"horizon": 2}


def test_nobody_changes_a_backbones_options_by_accident():
    get_backbone("dreamer").planner_options("dream", "state")["horizon"] = 1
    assert get_backbone("dreamer").planner_options("dream", "state")["horizon"] == 15
