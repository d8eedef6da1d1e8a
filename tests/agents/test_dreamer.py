"""DreamerV3, and planners on its world model."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from dream_agents import DreamerV3, DreamMPC
from dream_agents.models.dreamer import DreamerSize
from dream_agents.planners.dream import DreamPlanner

OBS = np.array([[0.2, 0.1, -0.3], [0.5, -0.5, 1.0]], np.float32)


class Place(gym.Env):
    """A point that moves by 0.3 * action; the reward is 1 - its distance from 0.5. Images show it as a bright column.

    :param pixels: observe 64 x 64 pixels
    """

    metadata = {"render_modes": [], "episodic": False}  # noqa: RUF012

    def __init__(self, pixels=False):
        self.pixels = pixels
        box = (
            gym.spaces.Box(0, 255, (1, 64, 64), np.uint8)
            if pixels
            else gym.spaces.Box(-2, 2, (1,), np.float32)
        )
        self.observation_space, self.action_space = box, gym.spaces.Box(-1, 1, (1,), np.float32)

    def observe(self):
        if not self.pixels:
            return np.array([self.place], np.float32)
        image = np.zeros((1, 64, 64), np.uint8)
        image[..., round(31.5 + 31.5 * self.place)] = 255
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1)
        return self.observe(), {}

    def step(self, action):
        self.place = float(np.clip(self.place + 0.3 * action[0], -1, 1))
        return self.observe(), 1 - abs(self.place - 0.5), False, False, {}


def make_place(pixels=False):
    return gym.wrappers.TimeLimit(Place(pixels), 20)


SMALL = {
    "model_size": DreamerSize(32, 32, 8, 4, 32, 4, 8),
    "batch_size": 8,
    "learning_starts": 100,
    "learning_rate": 1e-3,
    "buffer_size": 5000,
    "seed": 0,
    "device": "cpu",
}
SHORT = {"sequence_length": 16, "horizon": 8, "autocast": None}


@pytest.fixture(scope="module")
def fitted():
    """A DreamerV3 that knows how Place works."""
    options = SMALL | {"learning_rate": 2e-3, "batch_size": 16, "train_freq": 1, "gamma": 0.9, "tau": 0.05}
    learner = {"sequence_length": 8, "horizon": 5, "actor_lr_scale": 1.0, "autocast": None}
    return DreamerV3(make_place(), learner_kwargs=learner, **options).learn(700)


def test_learns_where_to_go(fitted):
    returns = []
    for seed in range(5):
        env, state, start = make_place(), None, np.array([True])
        obs, _ = env.reset(seed=seed)
        total, done = 0.0, False
        while not done:
            action, state = fitted.predict(obs[None], state, start, deterministic=True)
            obs, reward, _, done, _ = env.step(action[0])
            total, start = total + reward, np.array([False])
        returns.append(total)
    assert np.mean(returns) > 14  # random actions get about 7, one direction 10, the best ones 18


def test_planning_gradient_points_where_the_return_grows(fitted):
    """The straight-through gradient against finite differences of the expected return."""
    model = fitted.world_model
    z, _ = model.observe(torch.tensor([[-0.8], [-0.2], [0.9]]))
    actions = torch.zeros(3, 3, 1, 1)  # [H, B, N, A]
    planner = DreamPlanner(uncertainty_coef=0.0)
    _, gradient = planner.objective_and_gradient(model, z, actions, None)
    assert (gradient[0].abs() > 1e-4).all()

    def expected_return(first, samples=512):
        generator = torch.Generator().manual_seed(0)
        latent, total = z.repeat_interleave(samples, 0), 0
        with torch.no_grad():
            for step in range(3):
                action = torch.full((len(latent), 1), first if step == 0 else 0.0)
                noise = model.rssm.stochastic.noise(len(latent), generator=generator, device=z.device)
                latent = model.rssm.imagine(latent, action, noise)
                total = total + model.discount**step * model.reward_at(latent)
            total = total + model.discount**3 * model.values(latent, None)[0]
        return total.view(3, samples).mean(1)

    difference = expected_return(0.5) - expected_return(-0.5)
    assert torch.equal(gradient[0, :, 0, 0].sign(), difference.sign())


def test_recurrent_state_in_predict_is_the_unrolled_posterior(dreamer, observations):
    agent = dreamer().learn(30)
    model, state = agent.world_model, None
    memory, decisions = model.initial_memory(2), np.zeros(2, int)
    for step in range(4):
        obs = observations(2, seed=step)
        start = np.array([step == 0, step in (0, 2)])
        action, state = agent.predict(obs, state, start, deterministic=True)
        decisions[start] = 0
        generator = torch.Generator().manual_seed(agent.policy.seed + int(decisions.sum()))
        decisions += 1
        with torch.no_grad():
            z, memory = model.observe(torch.from_numpy(obs), memory, torch.from_numpy(start), generator)
            mean = model.policy(z).mean
        memory = model.remember_action(memory, mean)
        np.testing.assert_allclose(agent.policy.scale_action(action), mean, atol=1e-5)
        for ours, expected in zip(state, memory.values(), strict=False):
            np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_what_is_observed_is_a_sample_of_the_posterior(dreamer, observations):
    model = dreamer().world_model
    obs = torch.from_numpy(observations(1)).expand(4000, -1)
    with torch.no_grad():
        z, _ = model.observe(obs, generator=torch.Generator().manual_seed(0))
        again, _ = model.observe(obs, generator=torch.Generator().manual_seed(0))
        h, sampled = model.rssm.split(z)
        embedding = model.coder.encode(model.coder.prepare(obs[:1]))
        statistics = model.rssm.posterior(torch.cat((h[:1], embedding), -1))
        expected = model.rssm.stochastic.probabilities(statistics).flatten()
    assert torch.equal(z, again)
    torch.testing.assert_close(sampled.mean(0), expected, atol=0.04, rtol=0)


def test_history_matters_until_an_episode_starts(dreamer, observations):
    agent = dreamer().learn(30)
    obs = observations(1)
    afresh, state = agent.predict(obs, deterministic=True)
    _, state = agent.predict(observations(1, seed=5), state, np.array([False]), deterministic=True)
    later, _ = agent.predict(obs, state, np.array([False]), deterministic=True)
    again, _ = agent.predict(obs, state, np.array([True]), deterministic=True)
    assert not np.array_equal(afresh, later)
    np.testing.assert_array_equal(afresh, again)


def test_executed_action_with_its_noise_is_remembered(dreamer, walk):
    class Always:
        def __call__(self):
            return np.array([[5.0]], np.float32)

        def reset(self):
            pass

    agent = dreamer(walk(), learning_starts=5, action_noise=Always()).learn(20)
    assert torch.equal(agent._plan_memory["model.action"], torch.ones(1, 1))


@pytest.mark.parametrize("backbone", ["dreamer", "dreamer_gaussian"])
@pytest.mark.parametrize("planner", ["policy", "dream", "cem", "grad", "mppi"])
def test_any_planner_acts(backbone, planner):
    options = SMALL | {"learning_starts": 20, "learner_kwargs": SHORT, "train_freq": 4, "gradient_steps": 1}
    agent = DreamerV3("Pendulum-v1", backbone=backbone, **options).learn(40)
    agent.planner = planner
    afresh, state = agent.predict(OBS, deterministic=True)
    goes_on, _ = agent.predict(OBS, state, np.array([False, False]), deterministic=True)
    again, _ = agent.predict(OBS, state, np.array([True, True]), deterministic=True)
    np.testing.assert_array_equal(afresh, again)
    assert goes_on.shape == (2, 1) and np.isfinite(goes_on).all()


@pytest.mark.parametrize("backbone", ["dreamer", "dreamer_gaussian"])
def test_dream_mpc_plans_as_in_the_paper(backbone):
    options = SMALL | {"learning_starts": 20, "learner_kwargs": SHORT}
    agent = DreamMPC("Pendulum-v1", backbone=backbone, **options)
    planner = agent.planner
    assert isinstance(planner, DreamPlanner)
    assert (planner.horizon, planner.candidates, planner.iterations_for(agent.world_model)) == (15, 5, 1)
    assert (planner.proposal_noise, planner.reuse, planner.step_size) == (0.2, 0.1, 0.1)
    assert (planner.return_lambda, planner.uncertainty_coef, planner.exploration_std) == (0.95, 0.0, 0.3)
    agent.learn(30)
    assert agent._n_updates > 0


@pytest.mark.parametrize("backbone", ["dreamer", "dreamer_gaussian"])
def test_pixels(backbone, tmp_path):
    options = SMALL | {"learning_starts": 40, "learner_kwargs": SHORT, "obs_type": "pixels"}
    agent = DreamerV3(make_place(pixels=True), backbone=backbone, train_freq=4, **options).learn(80)
    assert agent.replay_buffer.observations.dtype == np.uint8
    agent.save(tmp_path / "agent.zip")
    loaded = DreamerV3.load(tmp_path / "agent.zip", env=make_place(pixels=True), device="cpu")
    obs = agent.get_env().reset()
    np.testing.assert_array_equal(
        agent.predict(obs, deterministic=True)[0], loaded.predict(obs, deterministic=True)[0]
    )
    loaded.learn(10)


def test_images_of_other_sizes_are_refused():
    class Odd(Place):
        def __init__(self):
            super().__init__(pixels=True)
            self.observation_space = gym.spaces.Box(0, 255, (1, 20, 20), np.uint8)

    with pytest.raises(ValueError, match="multiples of 16"):
        DreamerV3(gym.wrappers.TimeLimit(Odd(), 20), obs_type="pixels", **SMALL)


def test_updates_keep_their_ratio_to_decisions():
    agent = DreamerV3("Pendulum-v1", learner_kwargs=SHORT, **SMALL).learn(140)
    assert agent._n_updates == 70


def test_unknown_names():
    with pytest.raises(ValueError, match="choose one of 1M, 5M, 12M, paper"):
        DreamerV3("Pendulum-v1", model_size="2M")
    with pytest.raises(ValueError, match="categorical"):
        DreamerV3("Pendulum-v1", model_kwargs={"latent": "discrete"})
    with pytest.raises(ValueError, match="reinforce"):
        DreamerV3("Pendulum-v1", learner_kwargs={"actor_gradient": "pathwise"})
