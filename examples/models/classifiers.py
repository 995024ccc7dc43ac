"""Networks that classify photographs: SqueezeNet 1.1, ResNet-18, DenseNet-121, Inception-v3."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import Branches, ConvBn, Residual
from .mobile import CLASSES


class SqueezeNet(nn.Sequential):
    """Iandola et al. 2016, release 1.1."""

    def __init__(self) -> None:
        def fire(inputs: int, squeezed: int, expanded: int) -> nn.Module:
            narrow = nn.Sequential(nn.Conv2d(squeezed, expanded, 1), nn.ReLU())
            wide = nn.Sequential(nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU())
            return nn.Sequential(nn.Conv2d(inputs, squeezed, 1), nn.ReLU(), Branches([narrow, wide]))

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        super().__init__(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), fire(64, 16, 64), fire(128, 16, 64), pool(),
            fire(128, 32, 128), fire(256, 32, 128), pool(), fire(256, 48, 192), fire(384, 48, 192),
            fire(384, 64, 256), fire(512, 64, 256), nn.Dropout(), nn.Conv2d(512, CLASSES, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


class ResNet18(nn.Sequential):
    """He et al. 2016, table 1."""

    def __init__(self) -> None:
        def block(inputs: int, outputs: int, stride: int) -> nn.Module:
            body = nn.Sequential(ConvBn(inputs, outputs, 3, stride), ConvBn(outputs, outputs, 3, 1, 1, nn.Identity()))
            same = stride == 1 and inputs == outputs
            shortcut = nn.Identity() if same else ConvBn(inputs, outputs, 1, stride, 1, nn.Identity())
            return Residual(body, shortcut, nn.ReLU())

        sizes = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        stages = [layer for i, o, s in sizes for layer in (block(i, o, s), block(o, o, 1))]
        super().__init__(
            ConvBn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), *stages,
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES),
        )  # fmt: skip


class Grown(nn.Module):
    """DenseNet's layer: normalized first, its result joined to all that came before."""

    def __init__(self, inputs: int, growth: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth), nn.ReLU(), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


class DenseNet121(nn.Sequential):
    """Huang et al. 2017, table 1."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [ConvBn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
        channels = 64
        for index, count in enumerate((6, 12, 24, 16)):
            if index:
                half = channels // 2
                layers += [
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                    nn.Conv2d(channels, half, 1, bias=False),
                    nn.AvgPool2d(2),
                ]
                channels = half
            for _ in range(count):
                layers.append(Grown(channels))
                channels += 32
        super().__init__(
            *layers,
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, CLASSES),
        )


def _conv(
    inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, pads: tuple[int, int] = (0, 0)
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, pads, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _square(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, pad: int = 0) -> nn.Module:
    return _conv(inputs, outputs, (kernel, kernel), stride, (pad, pad))


def _row_and_column(inputs: int, outputs: int, length: int, *, column_first: bool = False) -> list[nn.Module]:
    row, column = ((1, length), (0, length // 2)), ((length, 1), (length // 2, 0))
    first, second = (column, row) if column_first else (row, column)
    return [_conv(inputs, outputs, first[0], 1, first[1]), _conv(outputs, outputs, second[0], 1, second[1])]


def _averaged(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), _square(inputs, outputs))


class InceptionV3(nn.Sequential):
    """Szegedy et al. 2016, without its auxiliary classifier."""

    def __init__(self) -> None:
        stem = [
            _square(3, 32, 3, 2), _square(32, 32, 3), _square(32, 64, 3, 1, 1), nn.MaxPool2d(3, 2),
            _square(64, 80), _square(80, 192, 3), nn.MaxPool2d(3, 2),
        ]  # fmt: skip
        small = [self._five(i, p) for i, p in ((192, 32), (256, 64), (288, 64))]
        middle = [self._seven(width) for width in (128, 160, 160, 192)]
        super().__init__(
            *stem, *small, self._halve_first(), *middle, self._halve_second(), self._wide(1280), self._wide(2048),
            nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Flatten(), nn.Linear(2048, CLASSES),
        )  # fmt: skip

    @staticmethod
    def _five(inputs: int, pooled: int) -> nn.Module:
        double = nn.Sequential(_square(inputs, 64), _square(64, 96, 3, 1, 1), _square(96, 96, 3, 1, 1))
        five = nn.Sequential(_square(inputs, 48), _square(48, 64, 5, 1, 2))
        return Branches([_square(inputs, 64), five, double, _averaged(inputs, pooled)])

    @staticmethod
    def _halve_first() -> nn.Module:
        double = nn.Sequential(_square(288, 64), _square(64, 96, 3, 1, 1), _square(96, 96, 3, 2))
        return Branches([_square(288, 384, 3, 2), double, nn.MaxPool2d(3, 2)])

    @staticmethod
    def _seven(width: int) -> nn.Module:
        once = nn.Sequential(
            _square(768, width), *_row_and_column(width, width, 7)[:1], _conv(width, 192, (7, 1), 1, (3, 0))
        )
        twice = nn.Sequential(
            _square(768, width), *_row_and_column(width, width, 7, column_first=True),
            _conv(width, width, (7, 1), 1, (3, 0)), _conv(width, 192, (1, 7), 1, (0, 3)),
        )  # fmt: skip
        return Branches([_square(768, 192), once, twice, _averaged(768, 192)])

    @staticmethod
    def _halve_second() -> nn.Module:
        seven = nn.Sequential(_square(768, 192), *_row_and_column(192, 192, 7), _square(192, 192, 3, 2))
        return Branches([nn.Sequential(_square(768, 192), _square(192, 320, 3, 2)), seven, nn.MaxPool2d(3, 2)])

    @staticmethod
    def _wide(inputs: int) -> nn.Module:
        def both(channels: int) -> nn.Module:
            return Branches([_conv(channels, 384, (1, 3), 1, (0, 1)), _conv(channels, 384, (3, 1), 1, (1, 0))])

        three = nn.Sequential(_square(inputs, 384), both(384))
        double = nn.Sequential(_square(inputs, 448), _square(448, 384, 3, 1, 1), both(384))
        return Branches([_square(inputs, 320), three, double, _averaged(inputs, 192)])
