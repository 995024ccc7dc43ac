"""What the networks are made of: convolution, batch normalization and activation, and how random weights stay alive."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

GAIN = 0.3
"""Spread of what batch normalization learns, around 1 and 0."""


class ConvBn(nn.Sequential):
    """Convolution without bias, padded to keep its size at stride 1, batch normalization, activation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1,
        activation: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU() if activation is None else activation,
        )


class Residual(nn.Module):
    """``activation(shortcut(x) + body(x))``"""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.shortcut(x) + self.body(x))


class Branches(nn.Module):
    """Modules side by side on one input, their results joined along the channels."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def alive(model: nn.Module, inputs: tuple[Tensor, ...], seed: int) -> nn.Module:
    """``model`` with seeded weights (He et al. 2015) whose batch normalizations know the ``inputs``, ready to export.

    As in a trained network, each normalization's mean and variance are those of what it sees, so that activations
    neither die nor grow through any depth.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.Linear):
            weights = layer.weight.data
            fan_in = weights[0].numel() if not isinstance(layer, nn.ConvTranspose2d) else weights[:, 0].numel()
            weights.copy_(torch.randn(weights.shape, generator=generator) * (2 / fan_in) ** 0.5)
            if layer.bias is not None:
                layer.bias.data.copy_(0.1 * torch.randn(layer.bias.shape, generator=generator))
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            layer.momentum = None  # the mean over all that it sees
            layer.weight.data.copy_(1 + GAIN * torch.randn(layer.weight.shape, generator=generator))
            layer.bias.data.copy_(GAIN * torch.randn(layer.bias.shape, generator=generator))
    model.train()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)  # what a dropout draws
        model(*inputs)
    return model.eval()
