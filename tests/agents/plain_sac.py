"""SAC and SAC+AE written plainly in float64, from the papers and the published code; no code of the package."""

import math

import torch
import torch.nn.functional as F


class Adam:
    """Kingma and Ba 2015, Algorithm 1."""

    def __init__(self, parameters, rate, betas=(0.9, 0.999), decay=0.0):
        self.parameters, self.rate, self.betas, self.decay, self.steps = parameters, rate, betas, decay, 0
        self.first = [torch.zeros_like(parameter) for parameter in parameters]
        self.second = [torch.zeros_like(parameter) for parameter in parameters]

    def step(self, loss):
        self.apply(torch.autograd.grad(loss, self.parameters))

    def apply(self, gradients):
        self.steps += 1
        one, two = self.betas
        for i, gradient in enumerate(gradients):
            gradient = gradient + self.decay * self.parameters[i].detach()
            self.first[i] = one * self.first[i] + (1 - one) * gradient
            self.second[i] = two * self.second[i] + (1 - two) * gradient**2
            mean, square = self.first[i] / (1 - one**self.steps), self.second[i] / (1 - two**self.steps)
            with torch.no_grad():
                self.parameters[i] -= self.rate * mean / (square.sqrt() + 1e-8)


def mlp(weights, inputs):
    """Layers with ReLU between them; ``weights`` are W1, b1, W2, b2, ..."""
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    for i, (matrix, bias) in enumerate(pairs):
        inputs = inputs @ matrix.T + bias
        if i < len(pairs) - 1:
            inputs = inputs.clamp(min=0)
    return inputs


class PlainSAC:
    """One policy, two Q-functions, their slow copies and a temperature.

    :param policy: W1, b1, ..., whose last layer gives means and then log stds
    :param values, targets: two such lists each
    """

    def __init__(self, policy, values, targets, alpha, *, rate, gamma, tau, log_std_bounds, target_every):
        self.policy, self.values, self.targets = policy, values, targets
        self.log_alpha = torch.tensor([math.log(alpha)], dtype=torch.float64, requires_grad=True)
        for parameter in (*policy, *values[0], *values[1]):
            parameter.requires_grad_()
        self.gamma, self.tau, self.bounds, self.target_every = gamma, tau, log_std_bounds, target_every
        self.policy_adam = Adam(policy, rate)
        self.value_adam = Adam([*values[0], *values[1]], rate)
        self.alpha_adam = Adam([self.log_alpha], rate)
        self.step = 0

    def act(self, obs):
        """Sampled actions ``[B, A]`` and their log-density ``[B]``."""
        mean, raw = mlp(self.policy, obs).chunk(2, 1)
        low, high = self.bounds
        std = (low + (high - low) * (raw.tanh() + 1) / 2).exp()
        noise = torch.normal(torch.zeros_like(mean), torch.ones_like(mean))
        x = mean + std * noise
        gaussian = -(noise**2) / 2 - std.log() - math.log(2 * math.pi) / 2
        return x.tanh(), (gaussian - torch.log(1 / x.cosh() ** 2)).sum(1)

    def lowest(self, values, obs, actions):
        return torch.minimum(*(mlp(value, torch.cat((obs, actions), 1))[:, 0] for value in values))

    def update(self, obs, actions, rewards, next_obs, ended):
        alpha = self.log_alpha.exp().detach()
        with torch.no_grad():
            next_actions, log_density = self.act(next_obs)
            soft_value = self.lowest(self.targets, next_obs, next_actions) - alpha * log_density
            goal = rewards + self.gamma * (1 - ended) * soft_value
        inputs = torch.cat((obs, actions), 1)
        self.value_adam.step(sum(((mlp(value, inputs)[:, 0] - goal) ** 2).mean() for value in self.values))
        chosen, log_density = self.act(obs)
        self.policy_adam.step((alpha * log_density - self.lowest(self.values, obs, chosen)).mean())
        entropy_gap = (-log_density - -actions.shape[1]).detach()
        self.alpha_adam.step((self.log_alpha.exp() * entropy_gap).mean())
        if self.step % self.target_every == 0:
            with torch.no_grad():
                for target, value in zip(self.targets, self.values, strict=True):
                    for slow, fast in zip(target, value, strict=True):
                        slow.mul_(1 - self.tau).add_(self.tau * fast)
        self.step += 1


class PlainSACAE:
    """Yarats et al. 2021. Each argument is a list of weights, W1, b1, W2, b2, ... unless it says otherwise.

    :param convs: of the encoder, which the policy shares
    :param latent: W, b of the critic's projection, scale and shift of its LayerNorm; ``policy_latent`` the policy's
    :param targets: convs, latent and both Q-functions of the slow critic
    """

    def __init__(self, convs, latent, policy_latent, policy, values, targets, decoder_input, deconvs):
        self.convs, self.latent, self.policy_latent, self.policy = convs, latent, policy_latent, policy
        self.values, self.targets, self.decoder_input, self.deconvs = values, targets, decoder_input, deconvs
        self.log_alpha = torch.tensor([math.log(0.1)], dtype=torch.float64)
        self.encoder = [*convs, *latent]
        learned = (*self.encoder, *policy_latent, *policy, *values[0], *values[1], *decoder_input, *deconvs)
        for parameter in (*learned, self.log_alpha):
            parameter.requires_grad_()
        self.critic_adam = Adam([*self.encoder, *values[0], *values[1]], 1e-3)
        self.policy_adam = Adam([*policy_latent, *policy], 1e-3)
        self.alpha_adam = Adam([self.log_alpha], 1e-4, betas=(0.5, 0.999))
        self.encoder_adam = Adam(self.encoder, 1e-3)
        self.decoder_adam = Adam([*decoder_input, *deconvs], 1e-3, decay=1e-7)

    @staticmethod
    def encode(convs, latent, images):
        maps = images.double() / 255
        for i in range(4):
            maps = F.conv2d(maps, convs[2 * i], convs[2 * i + 1], stride=2 if i == 0 else 1).clamp(min=0)
        matrix, bias, scale, shift = latent
        z = maps.flatten(1) @ matrix.T + bias
        z = (z - z.mean(1, keepdim=True)) / (z.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return (z * scale + shift).tanh()

    def act(self, images):
        convs = [weight.detach() for weight in self.convs]
        mean, raw = mlp(self.policy, self.encode(convs, self.policy_latent, images)).chunk(2, 1)
        log_std = -10 + 6 * (raw.tanh() + 1)
        noise = torch.normal(torch.zeros(mean.shape), torch.ones(mean.shape)).double()
        actions = (mean + log_std.exp() * noise).tanh()
        gaussian = -(noise**2) / 2 - log_std - math.log(2 * math.pi) / 2
        return actions, (gaussian - torch.log(1 - actions**2 + 1e-6)).sum(1)

    def decode(self, z):
        maps = mlp(self.decoder_input, z).clamp(min=0)
        maps = maps.view(len(z), 32, *(round((maps.shape[1] / 32) ** 0.5),) * 2)
        for i in range(3):
            maps = F.conv_transpose2d(maps, *self.deconvs[2 * i : 2 * i + 2]).clamp(min=0)
        return F.conv_transpose2d(maps, *self.deconvs[6:], stride=2, output_padding=1)

    def update(self, images, actions, rewards, next_images, ended, moves_all):
        """Losses of critic, policy, temperature and autoencoder; the second and third only where ``moves_all``."""
        losses, alpha = {}, self.log_alpha.exp().detach()
        convs, latent, *targets = self.targets
        with torch.no_grad():
            next_actions, log_density = self.act(next_images)
            inputs = torch.cat((self.encode(convs, latent, next_images), next_actions), 1)
            soft_value = torch.minimum(*(mlp(value, inputs)[:, 0] for value in targets)) - alpha * log_density
            goal = rewards + 0.99 * (1 - ended) * soft_value
        inputs = torch.cat((self.encode(self.convs, self.latent, images), actions), 1)
        losses["critic_loss"] = sum(((mlp(value, inputs)[:, 0] - goal) ** 2).mean() for value in self.values)
        self.critic_adam.step(losses["critic_loss"])
        if moves_all:
            chosen, log_density = self.act(images)
            inputs = torch.cat((self.encode(self.convs, self.latent, images).detach(), chosen), 1)
            lowest = torch.minimum(*(mlp(value, inputs)[:, 0] for value in self.values))
            losses["actor_loss"] = (alpha * log_density - lowest).mean()
            self.policy_adam.step(losses["actor_loss"])
            losses["ent_coef_loss"] = (
                self.log_alpha.exp() * (-log_density + actions.shape[1]).detach()
            ).mean()
            self.alpha_adam.step(losses["ent_coef_loss"])
            self.follow()
        goal = (images / 8).floor() / 32
        goal = (goal + torch.rand(goal.shape) / 32 - 0.5).double()
        z = self.encode(self.convs, self.latent, images)
        losses["reconstruction_loss"] = ((self.decode(z) - goal) ** 2).mean() + 1e-6 * (z**2).sum(
            1
        ).mean() / 2
        parameters = [*self.encoder, *self.decoder_adam.parameters]
        gradients = torch.autograd.grad(losses["reconstruction_loss"], parameters)
        self.encoder_adam.apply(gradients[: len(self.encoder)])
        self.decoder_adam.apply(gradients[len(self.encoder) :])
        return {name: loss.item() for name, loss in losses.items()}

    def follow(self):
        """Targets follow values at a rate of 0.01, and their encoder at 0.05."""
        sources = (self.convs, self.latent, *self.values)
        with torch.no_grad():
            for target, source, rate in zip(self.targets, sources, (0.05, 0.05, 0.01, 0.01), strict=True):
                for slow, fast in zip(target, source, strict=True):
                    slow.mul_(1 - rate).add_(rate * fast)
