"""SAC written plainly in float64, from Haarnoja et al. 2018 and the published pytorch_sac; no code of the package."""

import math

import torch


class Adam:
    """Kingma and Ba 2015, Algorithm 1."""

    def __init__(self, parameters, rate, betas=(0.9, 0.999)):
        self.parameters, self.rate, self.betas, self.steps = parameters, rate, betas, 0
        self.first = [torch.zeros_like(parameter) for parameter in parameters]
        self.second = [torch.zeros_like(parameter) for parameter in parameters]

    def step(self, loss):
        self.steps += 1
        one, two = self.betas
        for i, gradient in enumerate(torch.autograd.grad(loss, self.parameters)):
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
