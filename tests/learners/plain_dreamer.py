"""DreamerV3's and Dreamer's networks and losses in plain operations, as float64 references of their learner.

From the papers: Hafner et al. 2020 (Eq. 4 to 8), 2025 (Eq. 1 to 7), and the stop-gradients of their public code.
"""

import torch
from torch.nn.functional import softplus


class PlainDreamer:
    """The world model's networks, a layer at a time, and what is computed with them.

    :param model: a ``DreamerWorldModel``, whose weights are copied
    :param config: the learner's
    """

    def __init__(self, model, config):
        self.w = {name: value.detach().double().requires_grad_() for name, value in model.named_parameters()}
        self.size, self.config, self.discount, self.episodic = (
            model.size,
            config,
            model.discount,
            model.episodic,
        )
        self.action_dim, self.categorical = model.action_dim, model.latent == "categorical"

    def named(self, *prefixes):
        return {name: value for name, value in self.w.items() if name.startswith(prefixes)}

    # ---------------------------------------------------------------- layers

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name, y):
        deviation = y - y.mean(-1, keepdim=True)
        y = deviation / (deviation.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return y * self.w[f"{name}.ln.weight"] + self.w[f"{name}.ln.bias"]

    def hidden(self, name, x, relu=False):
        y = self.linear(name, x)
        if self.categorical:
            y = self.norm(name, y)
            return y / (1 + torch.exp(-y))
        return y.clamp(min=0) if relu else torch.where(y > 0, y, torch.exp(y.clamp(max=0)) - 1)

    def stack(self, name, x, layers, relu=False):
        for layer in range(layers):
            x = self.hidden(f"{name}.{layer}", x, relu)
        return x

    def head(self, name, z, layers):
        return self.linear(f"{name}.1", self.stack(f"{name}.0", z, layers))

    # ------------------------------------------------------------- world model

    def prepared(self, obs):
        obs = obs.double()
        return torch.sign(obs) * torch.log(1 + obs.abs()) if self.categorical else obs

    def encode(self, obs):
        if self.categorical:
            return self.stack("coder.encoder", self.prepared(obs), 3)
        return self.linear("coder.encoder.1", self.stack("coder.encoder.0", self.prepared(obs), 2, relu=True))

    def decode(self, z):
        layers = 3 if self.categorical else 2
        return self.linear("coder.decoder.1", self.stack("coder.decoder.0", z, layers, not self.categorical))

    def advance(self, h, s, action):
        x = self.hidden("rssm.input", torch.cat((s, action), -1))
        if self.categorical:
            gates = self.norm("rssm.gates", self.linear("rssm.gates", torch.cat((x, h), -1)))
            reset, candidate, update = gates.chunk(3, -1)
            new = torch.tanh(torch.sigmoid(reset) * candidate)
            share = torch.sigmoid(update - 1)
            return share * new + (1 - share) * h
        of_x = x @ self.w["rssm.cell.weight_ih"].T + self.w["rssm.cell.bias_ih"]
        of_h = h @ self.w["rssm.cell.weight_hh"].T + self.w["rssm.cell.bias_hh"]
        (reset_x, keep_x, new_x), (reset_h, keep_h, new_h) = of_x.chunk(3, -1), of_h.chunk(3, -1)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        keep = torch.sigmoid(keep_x + keep_h)
        return (1 - keep) * new + keep * h

    def prior(self, h):
        layers = 2 if "rssm.prior.2.weight" in self.w else 1
        return self.linear(f"rssm.prior.{layers}", self.stack("rssm.prior", h, layers))

    def posterior(self, h, embedding):
        return self.linear("rssm.posterior.1", self.hidden("rssm.posterior.0", torch.cat((h, embedding), -1)))

    def noise(self, *lead, generator):
        """What a sample is drawn with, in the learner's order and precision."""
        if self.categorical:
            return torch.rand(*lead, 1, self.size.groups, generator=generator).double()
        return torch.randn(*lead, self.size.gaussian, generator=generator).double()

    def probabilities(self, statistics):
        p = statistics.unflatten(-1, (self.size.classes, self.size.groups)).softmax(-2)
        return 0.99 * p + 0.01 / self.size.classes

    def normal(self, statistics):
        mean, raw = statistics.chunk(2, -1)
        return mean, softplus(raw) + 0.1

    def sample(self, statistics, noise):
        if not self.categorical:
            mean, std = self.normal(statistics)
            return mean + std * noise
        p = self.probabilities(statistics)
        index = (p.cumsum(-2) <= noise).sum(-2, keepdim=True).clamp(max=self.size.classes - 1)
        one_hot = torch.zeros_like(p).scatter(-2, index, 1.0)
        return (one_hot + p - p.detach()).flatten(-2)

    def kl(self, first, second):
        if self.categorical:
            p, q = self.probabilities(first), self.probabilities(second)
            return (p * torch.log(p / q)).sum((-2, -1))
        (m, s), (n, t) = self.normal(first), self.normal(second)
        return (torch.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5).sum(-1)

    def observe(self, batch, generator):
        """Latents ``[L, B, Z]`` and statistics of posterior and prior."""
        noise = self.noise(*batch.rewards.shape, generator=generator)
        width = self.size.deterministic
        z, found = batch.context.double(), []
        for t, embedding in enumerate(self.encode(batch.observations)):
            keep = (1 - batch.is_first[t]).double().unsqueeze(-1)
            h = self.advance(*(z * keep).tensor_split([width], -1), batch.actions[t].double() * keep)
            statistics = self.posterior(h, embedding)
            z = torch.cat((h, self.sample(statistics, noise[t])), -1)
            found.append((z, statistics, self.prior(h)))
        return tuple(torch.stack(parts) for parts in zip(*found, strict=True))

    def model_loss(self, batch, generator):
        config = self.config
        z, posterior, prior = self.observe(batch, generator)
        error = (self.decode(z) - self.prepared(batch.observations)) ** 2
        dynamics = self.kl(posterior.detach(), prior).clamp(min=config.free_nats)
        representation = self.kl(posterior, prior.detach()).clamp(min=config.free_nats)
        losses = [
            config.observation_coef * error.sum(-1),
            self.scalar_loss(self.reward_outputs(z), batch.rewards.double()),
            config.dynamics_coef * dynamics,
            config.representation_coef * representation,
        ]
        if self.episodic:
            ended = batch.terminated.double()
            logit = self.termination_logit(z)
            losses.append(ended * softplus(-logit) + (1 - ended) * softplus(logit))
        return sum(loss.mean() for loss in losses), z

    # -------------------------------------------------------- heads and scalars

    def bins(self):
        grid = torch.linspace(-10, 10, 127, dtype=torch.float64)
        return torch.sign(grid) * (torch.exp(grid.abs()) - 1)

    def scalar(self, outputs):
        if not self.categorical:
            return outputs.squeeze(-1)
        return outputs.softmax(-1)[..., :127] @ self.bins()  # the last one is a spare of value 0

    def scalar_loss(self, outputs, target):
        if not self.categorical:
            return 0.5 * (outputs.squeeze(-1) - target) ** 2
        bins, target = self.bins(), target.detach()
        upper = torch.searchsorted(bins, target.contiguous()).clamp(min=1)
        share = (target - bins[upper - 1]) / (bins[upper] - bins[upper - 1])
        logs = outputs.log_softmax(-1)
        lower_log, upper_log = (logs.gather(-1, i.unsqueeze(-1)).squeeze(-1) for i in (upper - 1, upper))
        return -(1 - share) * lower_log - share * upper_log

    def reward_outputs(self, z):
        return self.head("reward_head", z, 1 if self.categorical else 2)

    def termination_logit(self, z):
        return self.head("termination_head", z, 1 if self.categorical else 2).squeeze(-1)

    def value_outputs(self, z, slow=False):
        return self.head("target_value_heads" if slow else "value_heads", z, 3)

    def policy(self, z):
        """Mean and standard deviation, before tanh for Dreamer, around the action for DreamerV3."""
        mean, raw = self.head("policy_head", z, 3 if self.categorical else 4).chunk(2, -1)
        if self.categorical:
            return torch.tanh(mean), 0.9 * torch.sigmoid(raw + 2) + 0.1
        return 5 * torch.tanh(mean / 5), softplus(raw + 4.993) + 1e-4

    # --------------------------------------------------------------- behaviour

    def imagine(self, z, generator):
        """States ``[H + 1, N, Z]`` and raw actions ``[H, N, A]``; the policy sees states without a gradient."""
        states, actions = [z], []
        for _ in range(self.config.horizon):
            mean, std = self.policy(states[-1].detach())
            raw = mean + std * torch.randn(mean.shape, generator=generator).double()
            actions.append(raw if self.categorical else torch.tanh(raw))
            h = self.advance(
                *states[-1].tensor_split([self.size.deterministic], -1), actions[-1].clamp(-1, 1)
            )
            states.append(
                torch.cat((h, self.sample(self.prior(h), self.noise(len(z), generator=generator))), -1)
            )
        return torch.stack(states), torch.stack(actions)

    def value_loss(self, outputs, returns, slow):
        return self.scalar_loss(outputs, returns) + self.config.slow_value_coef * self.scalar_loss(
            outputs, slow
        )

    def behaviour_losses(self, replayed, batch, generator):
        """Losses of actor and critic in imagination, and of the critic on replayed rewards.

        :param replayed: latents ``[L, B, Z]``
        """
        config = self.config
        states, actions = self.imagine(replayed.detach().flatten(0, 1), generator)
        rewards, values = (
            self.scalar(self.reward_outputs(states[1:])),
            self.scalar(self.value_outputs(states)),
        )
        discounts = torch.full_like(rewards, self.discount)
        if self.episodic:
            discounts = discounts / (1 + torch.exp(self.termination_logit(states[1:])))
        returns = mixed_returns(rewards, values, discounts, config.return_lambda)
        weights = [(1 - batch.terminated).flatten().double()]
        for discount in discounts.detach()[:-1]:
            weights.append(weights[-1] * discount)
        weights = torch.stack(weights)

        scale = 1.0
        if config.normalize_returns:
            low, high = torch.quantile(returns.detach(), torch.tensor([0.05, 0.95], dtype=torch.float64))
            scale = ((1 - config.return_decay) * (high - low)).clamp(min=1)
        mean, std = self.policy(states[:-1].detach())
        objective = returns / scale
        if config.actor_gradient == "reinforce":
            density = torch.distributions.Normal(mean, std).log_prob(actions.detach()).sum(-1)
            objective = density * ((returns - values[:-1]) / scale).detach()
        if config.entropy_coef > 0:
            objective = objective + config.entropy_coef * torch.distributions.Normal(mean, std).entropy().sum(
                -1
            )
        actor_loss = -(weights * objective).mean()

        returns, features = returns.detach(), states.detach()
        slow = self.scalar(self.value_outputs(features, slow=True)).detach()
        imagined = (weights * self.value_loss(self.value_outputs(features[:-1]), returns, slow[:-1])).mean()
        return actor_loss, imagined, self.replay_loss(replayed, returns[0], slow[0], batch)

    def replay_loss(self, replayed, boot, slow, batch):
        """Each replayed state's return is of replayed rewards and ends in imagination."""
        boot, slow = boot.view(batch.rewards.shape), slow.view(batch.rewards.shape)
        running, losses = boot[-1], []
        outputs = self.value_outputs(replayed)
        for t in reversed(range(len(boot) - 1)):
            goes_on, lives = 1 - batch.is_first[t + 1].double(), 1 - batch.terminated[t + 1].double()
            # Where the next state but one begins another episode, the next one's return is the imagined one.
            ends = batch.is_first[t + 2].double() if t + 2 < len(boot) else torch.zeros_like(goes_on)
            share = self.config.return_lambda * (1 - ends)
            mixed = (1 - share) * boot[t + 1] + share * running
            running = batch.rewards[t + 1].double() + self.discount * lives * mixed
            losses.append(goes_on * self.value_loss(outputs[t], running, slow[t]))
        return torch.stack(losses).mean()


def mixed_returns(rewards, values, discounts, share):
    """Lambda-returns (Hafner et al. 2020, Eq. 6) by their recursion."""
    running, found = values[-1], []
    for t in reversed(range(len(rewards))):
        running = rewards[t] + discounts[t] * ((1 - share) * values[t + 1] + share * running)
        found.append(running)
    return torch.stack(found[::-1])
