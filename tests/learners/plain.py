"""TD-MPC2's layers and two-hot numbers in plain operations, for float64 references of the learners."""

import torch


class PlainNetworks:
    """What TD-MPC2 and BMPC share of their networks, a layer at a time.

    ``weights`` are the world model's by their names in its state dict.
    """

    weights: dict[str, torch.Tensor]

    def weight(self, name, member):
        return self.weights[name] if member is None else self.weights[name][member]

    def linear(self, name, x, member=None):
        return x @ self.weight(f"{name}.weight", member).T + self.weight(f"{name}.bias", member)

    def normed(self, name, x, member=None, simnorm=False):
        y = self.linear(name, x, member)
        variance = ((y - y.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)
        y = (y - y.mean(-1, keepdim=True)) / (variance + 1e-5).sqrt()
        y = y * self.weight(f"{name}.ln.weight", member) + self.weight(f"{name}.ln.bias", member)
        if not simnorm:
            return y * torch.tanh(torch.log(1 + torch.exp(y)))
        return torch.cat([group.exp() / group.exp().sum(-1, keepdim=True) for group in y.split(8, -1)], -1)

    def head(self, name, x, member=None):
        hidden = self.normed(f"{name}.1", self.normed(f"{name}.0", x, member), member)
        return self.linear(f"{name}.2", hidden, member)

    def next(self, z, a):
        hidden = self.normed("dynamics.1", self.normed("dynamics.0", torch.cat((z, a), -1)))
        return self.normed("dynamics.2", hidden, simnorm=True)


def bins():
    return torch.linspace(-10, 10, 101, dtype=torch.float64)


def cross_entropy(logits, x):
    """Against the two-hot target of x, as hat functions around the bins."""
    position = (torch.sign(x) * torch.log(1 + x.abs())).clamp(-10, 10)
    target = (1 - (position[:, None] - bins()).abs() / 0.2).clamp(min=0)
    return -(target * (logits - logits.exp().sum(-1, keepdim=True).log())).sum(-1).mean()


def decode(logits):
    mean = (logits.exp() / logits.exp().sum(-1, keepdim=True) * bins()).sum(-1)
    return torch.sign(mean) * (torch.exp(mean.abs()) - 1)
