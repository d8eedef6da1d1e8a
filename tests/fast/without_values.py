"""Updates on tensors that have shapes and no values."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode


def update_without_values(learner, backbone, batch):
    """Update so; what would wait for a value on a GPU raises."""
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        for module in learner.world_model.modules():
            for name, buffer in list(module._buffers.items()):
                module._buffers[name] = None if buffer is None else fake.from_tensor(buffer)
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:
                    module._parameters[name] = torch.nn.Parameter(
                        fake.from_tensor(parameter.data), parameter.requires_grad
                    )
        twin = backbone.build_learner(learner.world_model, learner.config, 1e-3, 0.01, None)
        twin.on_device = learner.on_device
        parts = {name: fake_of(fake, part) for name, part in batch._asdict().items()}
        return twin.update(batch._replace(**parts))


def fake_of(fake, part):
    if isinstance(part, torch.Tensor):
        return fake.from_tensor(part)
    return {name: fake.from_tensor(value) for name, value in part.items()} if isinstance(part, dict) else part
