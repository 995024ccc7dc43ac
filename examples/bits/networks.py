"""Five small networks for 3x32x32 patches of photographs, each after a family that people put on FPGAs.

All of them begin at He's initial weights and take images of 0..1; batch normalization where the originals have it.
``NETWORKS`` names them.  Needs torch.

Sources: ResNet: K. He et al., CVPR 2016.  VGG: K. Simonyan and A. Zisserman, ICLR 2015.  GoogLeNet: C. Szegedy et al.,
CVPR 2015.  MobileNet: A. Howard et al., 2017.  AlexNet: A. Krizhevsky et al., NIPS 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from examples.resnet8.patches import CLASSES
from examples.resnet8.train import resnet8

CLASS_COUNT = len(CLASSES)
ALPHA = 0.01
"""Of local response normalization: larger than the paper's 1e-4, whose inputs were 0..255."""


def conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the map's size, and a ReLU."""
    return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups), nn.ReLU()]


def vgg() -> nn.Sequential:
    """Five 3x3 convolutions in three stages, each ended by a maximum, and two fully connected layers."""
    return nn.Sequential(
        *conv(3, 16, 3), nn.MaxPool2d(2),
        *conv(16, 32, 3), *conv(32, 32, 3), nn.MaxPool2d(2),
        *conv(32, 64, 3), *conv(64, 64, 3), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 4 * 4, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, CLASS_COUNT),
    )  # fmt: skip


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a maximum of one map, joined: a quarter, a half, an eighth and an eighth."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        quarter, eighth = outputs // 4, outputs // 8
        self.one = nn.Sequential(*conv(inputs, quarter, 1))
        self.three = nn.Sequential(*conv(inputs, quarter, 1), *conv(quarter, 2 * quarter, 3))
        self.five = nn.Sequential(*conv(inputs, eighth, 1), *conv(eighth, eighth, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), *conv(inputs, eighth, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def googlenet() -> nn.Sequential:
    """A stem of two convolutions, four inception modules in two stages, a global average, a fully connected layer."""
    return nn.Sequential(
        *conv(3, 16, 3), nn.MaxPool2d(3, 2, padding=1),
        *conv(16, 32, 3), nn.MaxPool2d(3, 2, padding=1),
        Inception(32, 64), Inception(64, 96), nn.MaxPool2d(3, 2, padding=1),
        Inception(96, 128), Inception(128, 128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASS_COUNT),
    )  # fmt: skip


def separable(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """A depthwise 3x3 and a 1x1 convolution, each with batch normalization and ReLU."""
    return [
        nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    ]  # fmt: skip


def mobilenet() -> nn.Sequential:
    """A stem and six depthwise separable convolutions."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        *separable(16, 32, 2), *separable(32, 32, 1), *separable(32, 64, 2), *separable(64, 64, 1),
        *separable(64, 128, 2), *separable(128, 128, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASS_COUNT),
    )  # fmt: skip


def alexnet() -> nn.Sequential:
    """Five convolutions, three of them in two groups, two local response normalizations, overlapping maxima.

    The normalizations follow the maxima, as in Caffe's reference network, where they cost a quarter.
    """
    return nn.Sequential(
        *conv(3, 24, 5), nn.MaxPool2d(3, 2), nn.LocalResponseNorm(5, ALPHA, 0.75, 1.0),
        *conv(24, 48, 5, 2), nn.MaxPool2d(3, 2), nn.LocalResponseNorm(5, ALPHA, 0.75, 1.0),
        *conv(48, 64, 3), *conv(64, 64, 3, 2), *conv(64, 48, 3, 2), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Linear(48 * 3 * 3, 96), nn.ReLU(), nn.Dropout(0.3), nn.Linear(96, CLASS_COUNT),
    )  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained.  ``rate``: the highest learning rate; ``steps``: of BATCH images."""

    build: Callable[[], nn.Sequential]
    steps: int
    rate: float


NETWORKS: Mapping[str, Recipe] = {
    "residual": Recipe(resnet8, 1000, 8e-3),
    "vgg": Recipe(vgg, 1800, 3e-3),
    "googlenet": Recipe(googlenet, 1400, 3e-3),
    "mobilenet": Recipe(mobilenet, 1800, 1e-2),
    "alexnet": Recipe(alexnet, 1000, 3e-3),
}


def initialized(build: Callable[[], nn.Sequential]) -> nn.Sequential:
    """A network with He's initial weights, but for the last layer, which keeps PyTorch's smaller ones."""
    model = build()
    for layer in [each for each in model.modules() if isinstance(each, nn.Conv2d | nn.Linear)][:-1]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return model
