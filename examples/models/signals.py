"""Networks on signals, sound, points and volumes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .blocks import ConvBn


def _step(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    return [nn.Conv1d(inputs, outputs, kernel, stride, padding), nn.BatchNorm1d(outputs), nn.ReLU()]


class M5(nn.Module):
    """Dai et al. 2017 on a second of sound at 8 kHz, 35 words."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in ((1, 32, 80, 16), (32, 32, 3, 1), (32, 64, 3, 1), (64, 64, 3, 1)):
            layers += [*_step(inputs, outputs, kernel, stride), nn.MaxPool1d(4)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(64, 35)

    def forward(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self.last(self.layers(x).mean(-1)), 1)


class _Chomped(nn.Module):
    """A causal, dilated convolution: padded on both sides, what looks ahead cut off."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.future = 2 * dilation
        self.conv = nn.utils.parametrizations.weight_norm(
            nn.Conv1d(inputs, outputs, 3, padding=self.future, dilation=dilation)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x)[..., : -self.future])


class Temporal(nn.Module):
    """Bai et al. 2018: four residual blocks of dilations 1 to 8, the last step classified."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 25, 25, 25, 25)
        pairs = list(pairwise(widths))
        self.bodies = nn.ModuleList(
            [nn.Sequential(_Chomped(i, o, 2**n), _Chomped(o, o, 2**n)) for n, (i, o) in enumerate(pairs)]
        )
        self.sides = nn.ModuleList([nn.Conv1d(i, o, 1) if i != o else nn.Identity() for i, o in pairs])
        self.last = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        for body, side in zip(self.bodies, self.sides, strict=True):
            x = torch.relu(body(x) + side(x))
        return self.last(x[:, :, -1])


class Ecg(nn.Sequential):
    """Heartbeats of 187 samples, five classes (after Kachuee et al. 2018, without its shortcuts)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = _step(1, 32, 5, 1, 2)
        for _ in range(4):
            layers += [*_step(32, 32, 5, 1, 2), nn.MaxPool1d(5, 2)]
        super().__init__(*layers, nn.Flatten(), nn.Linear(32 * 8, 32), nn.ReLU(), nn.Linear(32, 5))


class MelAudio(nn.Sequential):
    """Sound as 40 mel bands of 101 frames: convolutions, pooling, ten classes."""

    def __init__(self) -> None:
        super().__init__(
            ConvBn(1, 16), nn.MaxPool2d(2), ConvBn(16, 32), nn.MaxPool2d(2), ConvBn(32, 64), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip


class PointNet(nn.Module):
    """Qi et al. 2017 without its transforms: 1,024 points, one maximum over all, 40 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(
            *_step(3, 64, 1), *_step(64, 64, 1), *_step(64, 64, 1), *_step(64, 128, 1), *_step(128, 1024, 1)
        )
        self.last = nn.Sequential(
            nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(),
            nn.Linear(256, 40),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.points(x).max(2)[0])


class C3D(nn.Sequential):
    """After Tran et al. 2015, an eighth of its width: clips of 8 frames of 32 x 32, ten classes."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d((1, 2, 2))]
        for inputs, outputs in ((8, 16), (16, 32)):
            layers += [nn.Conv3d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2)]
        super().__init__(*layers, nn.Flatten(), nn.Linear(32 * 2 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10))
