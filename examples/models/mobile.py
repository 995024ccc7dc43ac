"""Networks for phones: MobileNetV1 to V3, EfficientNet-B0, ShuffleNetV2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import ConvBn, Residual
from .tiny import VisualWakeWords

CLASSES = 1000


class MobileNetV1(VisualWakeWords):
    """Howard et al. 2017."""

    def __init__(self) -> None:
        super().__init__(1.0, CLASSES)


class SqueezeExcite(nn.Module):
    """Hu et al. 2018: each channel scaled by what two small layers make of all channels' means."""

    def __init__(self, channels: int, squeezed: int, activation: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), activation,
            nn.Conv2d(squeezed, channels, 1), gate,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def inverted_residual(
    inputs: int, expanded: int, outputs: int, kernel: int, stride: int, activation: nn.Module,
    excite: nn.Module | None = None,
) -> nn.Module:  # fmt: skip
    """Expand, filter channel by channel, project (Sandler et al. 2018); with a shortcut where the shape stays."""
    layers: list[nn.Module] = []
    if expanded != inputs:
        layers.append(ConvBn(inputs, expanded, 1, activation=activation))
    layers.append(ConvBn(expanded, expanded, kernel, stride, expanded, activation))
    if excite is not None:
        layers.append(excite)
    layers.append(ConvBn(expanded, outputs, 1, activation=nn.Identity()))
    body = nn.Sequential(*layers)
    return Residual(body) if stride == 1 and inputs == outputs else body


class MobileNetV2(nn.Sequential):
    """Sandler et al. 2018, table 2."""

    def __init__(self) -> None:
        act = nn.ReLU6()
        layers: list[nn.Module] = [ConvBn(3, 32, 3, 2, activation=act)]
        inputs = 32
        stages = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]
        for factor, outputs, count, stride in stages:
            for index in range(count):
                layers.append(inverted_residual(inputs, factor * inputs, outputs, 3, 1 if index else stride, act))
                inputs = outputs
        super().__init__(
            *layers, ConvBn(320, 1280, 1, activation=act),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, CLASSES),
        )  # fmt: skip


class MobileNetV3Small(nn.Sequential):
    """Howard et al. 2019, table 2."""

    def __init__(self) -> None:
        relu, swish = nn.ReLU(), nn.Hardswish()
        rows = [
            (3, 16, 16, True, relu, 2), (3, 72, 24, False, relu, 2), (3, 88, 24, False, relu, 1),
            (5, 96, 40, True, swish, 2), (5, 240, 40, True, swish, 1), (5, 240, 40, True, swish, 1),
            (5, 120, 48, True, swish, 1), (5, 144, 48, True, swish, 1), (5, 288, 96, True, swish, 2),
            (5, 576, 96, True, swish, 1), (5, 576, 96, True, swish, 1),
        ]  # fmt: skip
        layers: list[nn.Module] = [ConvBn(3, 16, 3, 2, activation=swish)]
        inputs = 16
        for kernel, expanded, outputs, excites, activation, stride in rows:
            excite = SqueezeExcite(expanded, max(8, expanded // 4), nn.ReLU(), nn.Hardsigmoid()) if excites else None
            layers.append(inverted_residual(inputs, expanded, outputs, kernel, stride, activation, excite))
            inputs = outputs
        super().__init__(
            *layers, ConvBn(96, 576, 1, activation=swish), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(576, 1024), swish, nn.Dropout(0.2), nn.Linear(1024, CLASSES),
        )  # fmt: skip


class EfficientNetB0(nn.Sequential):
    """Tan and Le 2019, table 1."""

    def __init__(self) -> None:
        act = nn.SiLU()
        stages = [
            (1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2),
            (6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1),
        ]  # fmt: skip
        layers: list[nn.Module] = [ConvBn(3, 32, 3, 2, activation=act)]
        inputs = 32
        for factor, kernel, outputs, count, stride in stages:
            for index in range(count):
                excite = SqueezeExcite(factor * inputs, inputs // 4, act, nn.Sigmoid())
                step = 1 if index else stride
                layers.append(inverted_residual(inputs, factor * inputs, outputs, kernel, step, act, excite))
                inputs = outputs
        super().__init__(
            *layers, ConvBn(320, 1280, 1, activation=act),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, CLASSES),
        )  # fmt: skip


class Shuffled(nn.Module):
    """ShuffleNetV2's unit (Ma et al. 2018, figure 3): half of the channels pass, then both halves are interleaved."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        source = inputs if stride > 1 else half
        self.stride = stride
        self.pass_on = nn.Sequential(
            ConvBn(inputs, inputs, 3, stride, inputs, nn.Identity()), ConvBn(inputs, half, 1)
        ) if stride > 1 else nn.Identity()  # fmt: skip
        self.body = nn.Sequential(
            ConvBn(source, half, 1), ConvBn(half, half, 3, stride, half, nn.Identity()), ConvBn(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = (x, x) if self.stride > 1 else x.chunk(2, 1)
        joined = torch.cat([self.pass_on(first), self.body(second)], 1)
        count, channels, rows, columns = joined.shape
        return (
            joined.view(count, 2, channels // 2, rows, columns).transpose(1, 2).reshape(count, channels, rows, columns)
        )


class ShuffleNetV2(nn.Sequential):
    """Ma et al. 2018, at its full width."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [ConvBn(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
        inputs = 24
        for outputs, count in ((116, 4), (232, 8), (464, 4)):
            for index in range(count):
                layers.append(Shuffled(inputs, outputs, 1 if index else 2))
                inputs = outputs
        super().__init__(*layers, ConvBn(464, 1024, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, CLASSES))
