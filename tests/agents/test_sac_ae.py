"""SAC+AE on images: what its networks share, what each loss changes, and that it saves and loads."""

import inspect
import signal
from contextlib import nullcontext

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from dream_agents import SACAE
from dream_agents.agents.sac_ae_policy import PixelDecoder, PixelLatent, five_bits, reconstruction_loss
from dream_agents.evaluation.training_log import TrainingLog
from dream_agents.replay import SequenceBatch
from dream_agents.runs import RunSettings

from .plain_sac import PlainSACAE


class Dot(gym.Env):
    """A bright square that moves sideways; the last two frames of 20 x 20 pixels are seen."""

    metadata = {"render_modes": [], "frame_stack": 2}  # noqa: RUF012
    observation_space = spaces.Box(0, 255, (6, 20, 20), np.uint8)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        self.frames = [self.frame()] * 2
        return np.concatenate(self.frames), {}

    def frame(self):
        frame = np.zeros((3, 20, 20), np.uint8)
        middle = round(10 + 7 * self.x)
        frame[:, 8:12, middle - 2 : middle + 2] = 255
        return frame

    def step(self, action):
        self.x = float(np.clip(self.x + 0.3 * action[0], -1, 1))
        self.frames = [self.frames[1], self.frame()]
        return np.concatenate(self.frames), 1 - abs(self.x), False, False, {}


def make(**options):
    env = gym.wrappers.TimeLimit(Dot(), 10)
    small = {"learning_starts": 20, "batch_size": 8, "buffer_size": 200, "policy_kwargs": {"net_arch": [16]}}
    return SACAE(env, **{"seed": 0, "device": "cpu"} | small | options)


def images(batch=4):
    return torch.randint(0, 256, (batch, 6, 20, 20), dtype=torch.uint8)


def changed(model, step):
    """Names of the parameters that a step changes."""
    before = {name: value.clone() for name, value in model.policy.named_parameters()}
    step()
    return {name for name, value in model.policy.named_parameters() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("size", [(64, 64), (84, 84), (21, 21)])
def test_decoder_gives_images_of_the_encoders_size(size):
    encoder = PixelLatent(spaces.Box(0, 255, (9, *size), np.uint8))
    latent = encoder(torch.rand(2, 9, *size))
    assert latent.shape == (2, 50)
    assert latent.abs().max() <= 1
    assert PixelDecoder(encoder)(latent).shape == (2, 9, *size)


def test_five_bits_keep_the_image_up_to_noise():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    reduced = five_bits(pixels)
    assert reduced.min() >= -0.5
    assert reduced.max() <= 0.5
    assert (reduced + 0.5 - pixels.float() / 256).abs().max() <= 1 / 32


def test_latents_are_penalised():
    latent, target = torch.full((3, 50), 0.5), torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    decoded = torch.full((3, 1, 4, 4), -0.5)
    with_penalty, without = (reconstruction_loss(latent, decoded, target, coef).item() for coef in (0.1, 0.0))
    assert with_penalty - without == pytest.approx(0.1 * 0.5 * 50 * 0.25, abs=1e-3)


class TestGradients:
    def test_actor_shares_the_convolutions_and_leaves_them_alone(self):
        model = make()
        actor, critic = model.actor.features_extractor, model.critic.features_extractor
        assert actor.convolutions is critic.convolutions
        assert actor.to_latent is not critic.to_latent
        names = changed(model, lambda: model._update_actor(images()))
        assert names
        assert all(name.startswith("actor.") and "convolutions" not in name for name in names)
        assert any("to_latent" in name for name in names)

    def test_critic_moves_its_encoder(self):
        model, ones = make(), torch.ones(4, 1)
        names = changed(model, lambda: model._update_critic(images(), ones, ones, images(), 0 * ones, 0.99))
        assert any("convolutions" in name for name in names)
        assert any("critic.qf0" in name for name in names)
        assert not [name for name in names if "target" in name or "decoder" in name or "actor.mu" in name]

    def test_reconstruction_moves_encoder_and_decoder(self):
        model = make()
        names = changed(model, lambda: model._update_autoencoder(images()))
        assert any("convolutions" in name for name in names)
        assert any(name.startswith("decoder.") for name in names)
        assert not [name for name in names if "qf" in name or "mu" in name or "target" in name]

    def test_targets_follow_at_their_own_rates(self):
        model = make(tau=0.25, encoder_tau=0.5)
        critic, target = model.critic, model.critic_target
        for parameter in critic.parameters():
            parameter.data += 1
        before = {name: value.clone() for name, value in target.named_parameters()}
        model._update_targets()
        for name, value in target.named_parameters():
            rate = 0.5 if "features_extractor" in name else 0.25
            torch.testing.assert_close(value, before[name] + rate, msg=name)


def test_learns_to_reconstruct():
    model, seen = make(), images(1).expand(4, -1, -1, -1)
    first = model._update_autoencoder(seen).item()
    for _ in range(60):
        last = model._update_autoencoder(seen).item()
    assert last < 0.8 * first


def test_defaults_are_the_papers():
    model = SACAE(gym.wrappers.TimeLimit(Dot(), 10), buffer_size=200)
    assert (model.learning_rate, model.batch_size, model.tau, model.encoder_tau) == (1e-3, 128, 0.01, 0.05)
    assert (model.target_update_interval, model.actor_update_interval, model.latent_coef) == (2, 2, 1e-6)
    assert torch.exp(model.log_ent_coef).item() == pytest.approx(0.1)
    assert model.ent_coef_optimizer.param_groups[0]["lr"] == 1e-4
    assert model.policy.decoder_optimizer.param_groups[0]["weight_decay"] == 1e-7
    assert model.policy.net_arch == [1024, 1024]
    assert model.replay_buffer.frame_stack == 2
    assert inspect.signature(SACAE).parameters["buffer_size"].default == 1_000_000


class TestSeedUpdates:
    """Right after the random decisions, pytorch_sac_ae does 1000 updates at once."""

    @staticmethod
    def updates(model, decisions):
        """Of each update whether it also moved actor and targets."""
        moves, actor, targets = [], model._update_actor, model._update_targets
        critic = model._update_critic
        model._update_critic = lambda *args: (moves.append(""), critic(*args))[1]
        model._update_actor = lambda obs: (moves.append(moves.pop() + "actor "), actor(obs))[1]
        model._update_targets = lambda: (moves.append(moves.pop() + "targets"), targets())[1]
        model.learn(decisions)
        return moves

    def test_all_move_actor_and_targets_then_every_second(self):
        moves = self.updates(make(learning_starts=6), 11)  # an update each after decisions 7 to 11
        assert moves == ["actor targets"] * 6 + ["", "actor targets", "", "actor targets"]

    def test_their_number(self):
        moves = self.updates(make(learning_starts=6, seed_updates=0), 10)
        assert moves == ["actor targets", "", "actor targets", ""]
        with pytest.raises(ValueError, match="seed_updates=-1"):
            make(seed_updates=-1)

    def test_a_resumed_run_has_them_once(self, tmp_path):
        make(learning_starts=6).learn(20).save_checkpoint(tmp_path)
        resumed = SACAE.load_checkpoint(tmp_path, gym.wrappers.TimeLimit(Dot(), 10), device="cpu")
        done = resumed._n_updates
        assert done == 6 + 13
        assert resumed._burst == 6
        resumed.learn(5, reset_num_timesteps=False)
        assert resumed._n_updates == done + 5

    @pytest.mark.parametrize("interrupts", [True, False], ids=["Ctrl-C", "False"])
    def test_a_callback_may_stop_among_them_and_the_rest_comes_first(self, tmp_path, interrupts):
        class Stop(BaseCallback):
            def _on_step(self):
                return True

            def _on_rollout_start(self):
                if self.model._n_updates == 4 and interrupts:
                    raise KeyboardInterrupt
                return self.model._n_updates != 4

        model = make(learning_starts=10)
        with pytest.raises(KeyboardInterrupt) if interrupts else nullcontext():
            model.learn(20, Stop())
        assert (model.num_timesteps, model._n_updates, model.updates_left) == (11, 4, 6)
        model.save_checkpoint(tmp_path)
        resumed = SACAE.load_checkpoint(tmp_path, gym.wrappers.TimeLimit(Dot(), 10), device="cpu")
        seen = []
        resumed.learn(3, lambda *_: seen.append(resumed._n_updates) is None, reset_num_timesteps=False)
        assert seen == [10, 11, 12]
        assert resumed._n_updates == 10 + 3, "the seed updates, and one for each further decision"

    def test_ctrl_c_waits_for_the_end_of_an_update(self):
        model, finished = make(learning_starts=6), []
        critic, autoencoder = model._update_critic, model._update_autoencoder
        model._update_critic = lambda *args: (signal.raise_signal(signal.SIGINT), critic(*args))[1]
        model._update_autoencoder = lambda obs: (finished.append(obs), autoencoder(obs))[1]
        with pytest.raises(KeyboardInterrupt):
            model.learn(10)
        assert len(finished) == model._n_updates == 1

    def test_evaluations_wait_for_them(self, tmp_path, monkeypatch):
        model, points = make(learning_starts=6), []
        log = TrainingLog(tmp_path, RunSettings("Dot", eval_every=7))

        def evaluate():
            points.append((model.num_timesteps, model._n_updates))
            log._evaluated = model.num_timesteps

        monkeypatch.setattr(log, "_evaluate", evaluate)
        model.learn(14, log)
        assert points == [(7, 6), (14, 6 + 7)]


def plain_copy(model):
    """The reference with the agent's weights."""

    def weights(*modules):
        return [
            parameter.detach().double().clone() for module in modules for parameter in module.parameters()
        ]

    def critic(one):
        encoder = one.features_extractor
        parts = (encoder.convolutions, encoder.to_latent, *one.q_networks)
        return [weights(part) for part in parts]

    actor, decoder = model.actor, model.policy.decoder
    heads = [torch.cat(pair) for pair in zip(weights(actor.mu), weights(actor.log_std), strict=True)]
    convs, latent, *values = critic(model.critic)
    return PlainSACAE(
        convs,
        latent,
        weights(actor.features_extractor.to_latent),
        [*weights(actor.latent_pi), *heads],
        values,
        critic(model.critic_target),
        weights(decoder.from_latent),
        weights(decoder.deconvolutions),
    )


def test_updates_are_those_of_sac_ae_written_plainly(monkeypatch):
    """Six updates, two of them at once, from weights and biases none of which is 0."""
    model = make(learning_starts=2, learning_rate=1e-3)
    model.set_logger(configure(format_strings=[]))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    plain, before = plain_copy(model), plain_copy(model)
    batches = [
        SequenceBatch(
            torch.stack((images(8), images(8))),
            torch.rand(1, 8, 1) * 2 - 1,
            torch.randn(1, 8),
            (torch.rand(1, 8) < 0.3).float(),
        )
        for _ in range(6)
    ]
    feed, losses = iter(batches), []
    monkeypatch.setattr(model.replay_buffer, "can_sample", lambda: True)
    monkeypatch.setattr(model.replay_buffer, "sample", lambda *_, **__: next(feed))
    update = model._update
    model._update = lambda size: (losses.append({n: x.item() for n, x in update(size).items()}), {})[1]
    torch.manual_seed(5)
    for _ in range(5):
        model.train(1, 8)
    torch.manual_seed(5)
    for i, batch in enumerate(batches):
        (obs, after), moves_all = batch.observations, i in (0, 1, 3, 5)
        args = (batch.actions[0].double(), batch.rewards[0].double(), after, batch.terminated[0].double())
        expected = plain.update(obs, *args, moves_all)
        assert losses[i] == pytest.approx(expected, rel=1e-4), i
    ours = plain_copy(model)
    names = ("convs", "latent", "policy_latent", "policy", "decoder_input", "deconvs")
    parts = [(name, *(getattr(one, name) for one in (ours, plain, before))) for name in names]
    for i in range(4):
        parts.append((f"target {i}", ours.targets[i], plain.targets[i], before.targets[i]))
    for name, one, other, start in parts:
        for value, expected, first in zip(one, other, start, strict=True):
            moved = (expected - first).detach()
            assert moved.norm() > 0, name
            assert (value - expected).detach().norm() < 0.01 * moved.norm(), name


def test_noise_is_bounded_by_a_tanh():
    model = make()
    seen = images(1).float()
    for bias, bound in ((50.0, 2), (-50.0, -10), (0.0, -4)):
        torch.nn.init.zeros_(model.actor.log_std.weight)
        torch.nn.init.constant_(model.actor.log_std.bias, bias)
        assert model.actor.get_action_dist_params(seen)[1].item() == pytest.approx(bound)


def test_saves_loads_and_goes_on(tmp_path):
    model = make().learn(40)
    assert model._n_updates == 20 + 19, (
        "as many at once as there were random decisions, then one each decision"
    )
    model.save(tmp_path / "model")
    obs = images(3).numpy()
    loaded = SACAE.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(
        loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0]
    )
    assert torch.equal(loaded.policy.decoder(torch.ones(1, 50)), model.policy.decoder(torch.ones(1, 50)))
    model.save_checkpoint(tmp_path / "checkpoints")
    resumed = SACAE.load_checkpoint(tmp_path / "checkpoints", gym.wrappers.TimeLimit(Dot(), 10), device="cpu")
    assert resumed.replay_buffer.size() == model.replay_buffer.size()
    drawn, expected = (m.replay_buffer.sample(5).observations for m in (resumed, model))
    assert torch.equal(drawn, expected)
    resumed.learn(10, reset_num_timesteps=False)
    assert resumed.num_timesteps == 50


def test_memory_efficient_buffer():
    """Frames are stored once in any case, so the option changes nothing."""
    sizes = [
        make(optimize_memory_usage=option).learn(25).learn(25).replay_buffer.size()
        for option in (False, True)
    ]
    assert sizes[0] == sizes[1] >= 50


@pytest.mark.parametrize("options", [{"preset": "paper"}, {"n_steps": 3}, {"use_sde": True}], ids=str)
def test_what_it_cannot_do_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        make(**options)


def test_states_are_refused():
    with pytest.raises(ValueError, match="make it with render_mode"):
        SACAE(gym.make("Pendulum-v1"))
