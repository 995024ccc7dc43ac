"""MLPerf Tiny's four reference networks (Banbury et al. 2021), as its benchmark defines them."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from .blocks import ConvBn, Residual


class KeywordSpotting(nn.Sequential):
    """DS-CNN (Zhang et al. 2017) on 49 x 10 MFCC features: four depthwise separable convolutions, 12 words."""

    def __init__(self) -> None:
        first = nn.Conv2d(1, 64, (10, 4), 2, (5, 1), bias=False)
        separable = [
            layer for _ in range(4) for layer in (ConvBn(64, 64, groups=64), ConvBn(64, 64, 1))
        ]  # fmt: skip
        super().__init__(
            first, nn.BatchNorm2d(64), nn.ReLU(), nn.Dropout(0.2), *separable,
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 12),
        )  # fmt: skip


class VisualWakeWords(nn.Sequential):
    """MobileNetV1 at a quarter of its width (Howard et al. 2017) on 96 x 96 images: person or none."""

    def __init__(self, width: float = 0.25, classes: int = 2) -> None:
        def wide(channels: int) -> int:
            return int(channels * width)

        steps = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
        layers: list[nn.Module] = [ConvBn(3, wide(32), 3, 2)]
        channels = wide(32)
        for outputs, stride in steps:
            layers += [ConvBn(channels, channels, 3, stride, channels), ConvBn(channels, wide(outputs), 1)]
            channels = wide(outputs)
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class ImageClassification(nn.Sequential):
    """ResNet-8 on 32 x 32 images, ten classes."""

    def __init__(self) -> None:
        def stage(inputs: int, outputs: int, stride: int) -> nn.Module:
            body = nn.Sequential(ConvBn(inputs, outputs, 3, stride), ConvBn(outputs, outputs, 3, 1, 1, nn.Identity()))
            shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)
            return Residual(body, shortcut, nn.ReLU())

        super().__init__(
            ConvBn(3, 16), stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip


class AnomalyDetection(nn.Module):
    """Fully connected autoencoder on 640 features, five frames of 128 mel bands."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(128, 640))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
