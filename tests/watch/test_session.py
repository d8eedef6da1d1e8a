"""What `dream-agents watch` shows: the planner's own decisions, and what the simulator makes of its plans."""

import gymnasium as gym
import numpy as np
import pytest

from dream_agents import SAC, make_env
from dream_agents.evaluation.environments import task_of
from dream_agents.watch import Session, Twin, simulation_of
from dream_agents.wrappers import gl

needs_gl = pytest.mark.skipif(
    not any(map(gl.is_usable, gl.HEADLESS)), reason="neither EGL nor OSMesa works here"
)
IDS = ["dmc_reacher-easy-v0", "humanoid_h1-reach-v0", "metaworld_drawer-close-v3", "HalfCheetah-v5"]


@pytest.mark.parametrize("planner", ["dream", "adaptive", "policy"])
def test_acts_as_predict_does(session, walker, planner):
    session.set_planner(planner)
    env = make_env("dmc_walker-walk-v0")
    obs, _ = env.reset(seed=3)
    before, walker.planner = walker.planner, planner
    state, start = None, np.ones(1, bool)
    try:
        for _ in range(4):
            action, state = walker.predict(obs, state, start, deterministic=True)
            obs, reward, *_ = env.step(action)
            start = np.zeros(1, bool)
            moment = session.step()
            assert moment.reward == pytest.approx(float(reward), abs=1e-4)
    finally:
        walker.planner = before


def test_the_ghost_is_where_the_plan_leads(session):
    for _ in range(3):
        moment = session.step(look=True)
        assert moment.ghost.shape == (3, *moment.poses.shape)
        np.testing.assert_allclose(moment.ghost[0], moment.poses, atol=1e-9)
        assert moment.ghost_rewards[0] == pytest.approx(moment.reward, abs=1e-9)


@pytest.mark.parametrize("id", IDS)
def test_a_twin_goes_on_as_the_environment_does(id):
    env, twin = make_env(id), Twin(make_env(id))
    actions = np.random.default_rng(0).uniform(-1, 1, (6, *env.action_space.shape)).astype(np.float32)
    for seed in range(2):
        env.reset(seed=seed)
        env.step(actions[0])
        twin.follow(env, new_episode=True)
        _, rewards = twin.play(actions[1:])
        np.testing.assert_allclose(rewards, [env.step(action)[1] for action in actions[1:]], atol=1e-6)
    env.close()
    twin.close()


def test_a_thought_says_what_was_gained(session):
    session.set_planner("adaptive")
    thought = session.step(look=True).thought
    assert (thought.after.returns >= thought.before.returns - 1e-4).all()
    assert thought.after.returns[thought.chosen] == pytest.approx(thought.after.returns.max(), abs=1e-3)
    assert thought.plan.shape == thought.after.actions[:, 0].shape
    assert (thought.after.uncertainty > 0).all()


def test_planners_and_options_change_between_decisions(session):
    session.step()
    session.set_planner("dream")
    session.set_option("candidates", 3)
    assert session.step(look=True).thought.after.returns.shape == (3,)
    session.set_planner("mppi", samples=16, iterations=1, elites=4, policy_samples=4)
    assert session.step(look=True).thought is not None
    with pytest.raises(ValueError, match="candidates"):
        session.set_planner("dream", candidates=0)


def test_a_push_moves_the_robot_once(walker):
    moved = []
    for force in (0, 2000):
        session = Session(walker, lambda: make_env("dmc_walker-walk-v0"), seed=3)
        session.push(np.array([force, 0, 0]))
        moved.append(session.step().poses[:, 0].mean())
        assert not simulation_of(session.env).data.xfrc_applied.any()
        session.close()
    assert moved[1] > moved[0] + 0.05


@needs_gl
def test_a_model_of_images_shows_what_its_plan_would_look_like():
    from dream_agents import DreamerV3

    model = DreamerV3("dmc_walker-walk-v0", obs_type="pixels", planner="dream", seed=0)
    place, options = task_of(model, None, None)
    session = Session(model, lambda: make_env(place, **options))
    frames = session.step(look=True).thought.frames
    session.close()
    assert frames.shape == (15, 64, 64, 3)
    assert frames.dtype == np.uint8


def test_what_cannot_be_watched_is_refused():
    with pytest.raises(ValueError, match="has no world model"):
        Session(SAC("Pendulum-v1"), lambda: gym.make("Pendulum-v1"))
    with pytest.raises(ValueError, match="Pendulum-v1 has no MuJoCo simulation"):
        simulation_of(gym.make("Pendulum-v1"))
