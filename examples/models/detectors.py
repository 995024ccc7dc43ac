"""Networks that find objects: YOLOv3-tiny, YOLOv5n and YOLOv8n, each head's last convolution an output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import ConvBn

CLASSES = 80


def _leaky(inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
    return ConvBn(inputs, outputs, kernel, activation=nn.LeakyReLU(0.1))


def _silu(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Module:
    return ConvBn(inputs, outputs, kernel, stride, activation=nn.SiLU())


class YoloV3Tiny(nn.Module):
    """Redmon and Farhadi 2018, yolov3-tiny.cfg: two heads, at strides 32 and 16."""

    def __init__(self) -> None:
        super().__init__()
        heads = 3 * (CLASSES + 5)
        pool = nn.MaxPool2d(2)
        first: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64), (64, 128)):
            first += [_leaky(inputs, outputs), pool]
        self.fine = nn.Sequential(*first, _leaky(128, 256))
        self.coarse = nn.Sequential(
            pool,
            _leaky(256, 512),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.MaxPool2d(2, 1),
            _leaky(512, 1024),
            _leaky(1024, 256, 1),
        )
        self.head_32 = nn.Sequential(_leaky(256, 512), nn.Conv2d(512, heads, 1))
        self.up = nn.Sequential(_leaky(256, 128, 1), nn.Upsample(scale_factor=2))
        self.head_16 = nn.Sequential(_leaky(384, 256), nn.Conv2d(256, heads, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        return self.head_32(coarse), self.head_16(torch.cat([self.up(coarse), fine], 1))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, kernels: tuple[int, int], *, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(_silu(channels, channels, kernels[0]), _silu(channels, channels, kernels[1]))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class _C3(nn.Module):
    """YOLOv5's stage (cross stage partial, Wang et al. 2020)."""

    def __init__(self, inputs: int, outputs: int, count: int, *, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        chain = [_Bottleneck(half, (1, 3), shortcut=shortcut) for _ in range(count)]
        self.body = nn.Sequential(_silu(inputs, half), *chain)
        self.side = _silu(inputs, half)
        self.join = _silu(2 * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.body(x), self.side(x)], 1))


class _C2f(nn.Module):
    """YOLOv8's stage: every step's result is joined."""

    def __init__(self, inputs: int, outputs: int, count: int, *, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.split = _silu(inputs, 2 * half)
        self.steps = nn.ModuleList([_Bottleneck(half, (3, 3), shortcut=shortcut) for _ in range(count)])
        self.join = _silu((2 + count) * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.split(x).chunk(2, 1))
        for step in self.steps:
            parts.append(step(parts[-1]))
        return self.join(torch.cat(parts, 1))


class _Sppf(nn.Module):
    """Spatial pyramid pooling, its windows one after another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = _silu(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = _silu(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.narrow(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.join(torch.cat(parts, 1))


class _Yolo(nn.Module):
    """Backbone and path aggregation of YOLOv5n and YOLOv8n; ``stage`` is theirs, ``first`` the first kernel's side."""

    def __init__(self, stage: type[_C3] | type[_C2f], first: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, first, 2, first // 2 - (first == 6), bias=False), nn.BatchNorm2d(16), nn.SiLU()
        )
        self.p3 = nn.Sequential(_silu(16, 32, 3, 2), stage(32, 32, 1), _silu(32, 64, 3, 2), stage(64, 64, 2))
        self.p4 = nn.Sequential(_silu(64, 128, 3, 2), stage(128, 128, 2 if stage is _C2f else 3))
        self.p5 = nn.Sequential(_silu(128, 256, 3, 2), stage(256, 256, 1), _Sppf(256))
        self.up = nn.Upsample(scale_factor=2)

    def pyramid(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p3 = self.p3(self.stem(x))
        p4 = self.p4(p3)
        return p3, p4, self.p5(p4)


class YoloV5n(_Yolo):
    """Ultralytics YOLOv5 6.0, nano: 640 x 640 images, three heads of 3 x (80 + 5) channels."""

    def __init__(self) -> None:
        super().__init__(_C3, 6)
        self.lateral_5, self.lateral_4 = _silu(256, 128), _silu(128, 64)
        self.top_4, self.top_3 = _C3(256, 128, 1, shortcut=False), _C3(128, 64, 1, shortcut=False)
        self.down_3, self.down_4 = _silu(64, 64, 3, 2), _silu(128, 128, 3, 2)
        self.out_4, self.out_5 = _C3(128, 128, 1, shortcut=False), _C3(256, 256, 1, shortcut=False)
        self.heads = nn.ModuleList([nn.Conv2d(width, 3 * (CLASSES + 5), 1) for width in (64, 128, 256)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        p3, p4, p5 = self.pyramid(x)
        n5 = self.lateral_5(p5)
        n4 = self.lateral_4(self.top_4(torch.cat([self.up(n5), p4], 1)))
        o3 = self.top_3(torch.cat([self.up(n4), p3], 1))
        o4 = self.out_4(torch.cat([self.down_3(o3), n4], 1))
        o5 = self.out_5(torch.cat([self.down_4(o4), n5], 1))
        return tuple(head(value) for head, value in zip(self.heads, (o3, o4, o5), strict=True))


class YoloV8n(_Yolo):
    """Ultralytics YOLOv8, nano: three heads, each boxes (4 x 16 channels) and classes side by side."""

    def __init__(self) -> None:
        super().__init__(_C2f, 3)
        self.top_4, self.top_3 = _C2f(384, 128, 1, shortcut=False), _C2f(192, 64, 1, shortcut=False)
        self.down_3, self.down_4 = _silu(64, 64, 3, 2), _silu(128, 128, 3, 2)
        self.out_4, self.out_5 = _C2f(192, 128, 1, shortcut=False), _C2f(384, 256, 1, shortcut=False)
        widths = (64, 128, 256)
        self.boxes = nn.ModuleList([self._head(width, 64, 64) for width in widths])
        self.classes = nn.ModuleList([self._head(width, CLASSES, CLASSES) for width in widths])

    @staticmethod
    def _head(inputs: int, width: int, outputs: int) -> nn.Module:
        return nn.Sequential(_silu(inputs, width, 3), _silu(width, width, 3), nn.Conv2d(width, outputs, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        p3, p4, p5 = self.pyramid(x)
        n4 = self.top_4(torch.cat([self.up(p5), p4], 1))
        o3 = self.top_3(torch.cat([self.up(n4), p3], 1))
        o4 = self.out_4(torch.cat([self.down_3(o3), n4], 1))
        o5 = self.out_5(torch.cat([self.down_4(o4), p5], 1))
        heads = zip(self.boxes, self.classes, (o3, o4, o5), strict=True)
        return tuple(torch.cat([boxes(value), classes(value)], 1) for boxes, classes, value in heads)
