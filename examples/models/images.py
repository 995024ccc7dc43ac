"""Networks that make images of images: U-Net in three spellings, super-resolution, denoising, an autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import ConvBn


class UNet(nn.Module):
    """Ronneberger et al. 2015, four levels of 16 to 128 channels; ``up`` is "transposed", "nearest" or "bilinear"."""

    WIDTHS = (16, 32, 64, 128)

    def __init__(self, up: str) -> None:
        super().__init__()
        inputs = (3, *self.WIDTHS)
        self.down = nn.ModuleList([self._twice(i, o) for i, o in zip(inputs, self.WIDTHS, strict=False)])
        pairs = list(zip(self.WIDTHS[:0:-1], self.WIDTHS[-2::-1], strict=True))
        self.up = nn.ModuleList([self._larger(up, i, o) for i, o in pairs])
        self.join = nn.ModuleList([self._twice(2 * o, o) for _, o in pairs])
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Conv2d(self.WIDTHS[0], 2, 1)

    @staticmethod
    def _twice(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(ConvBn(inputs, outputs), ConvBn(outputs, outputs))

    @staticmethod
    def _larger(up: str, inputs: int, outputs: int) -> nn.Module:
        if up == "transposed":
            return nn.ConvTranspose2d(inputs, outputs, 2, 2)
        corners = {"align_corners": False} if up == "bilinear" else {}
        return nn.Sequential(nn.Upsample(scale_factor=2, mode=up, **corners), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for index, down in enumerate(self.down):
            x = down(self.pool(x) if index else x)
            kept.append(x)
        for up, join, skipped in zip(self.up, self.join, kept[-2::-1], strict=True):
            x = join(torch.cat([skipped, up(x)], 1))
        return self.last(x)


class Srcnn(nn.Sequential):
    """Dong et al. 2014, the 9-1-5 network with 64 and 32 filters: one channel of an image that is already enlarged."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 64, 9, padding=4), nn.ReLU(), nn.Conv2d(64, 32, 1), nn.ReLU(),
            nn.Conv2d(32, 1, 5, padding=2),
        )  # fmt: skip


class Espcn(nn.Sequential):
    """Shi et al. 2016: one channel, three times as large."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(),
            nn.Conv2d(32, 9, 3, padding=1), nn.PixelShuffle(3),
        )  # fmt: skip


class Fsrcnn(nn.Sequential):
    """Dong et al. 2016, FSRCNN(56, 12, 4): one channel, twice as large, PReLU a channel."""

    def __init__(self) -> None:
        middle = [layer for _ in range(4) for layer in (nn.Conv2d(12, 12, 3, padding=1), nn.PReLU(12))]
        super().__init__(
            nn.Conv2d(1, 56, 5, padding=2), nn.PReLU(56), nn.Conv2d(56, 12, 1), nn.PReLU(12), *middle,
            nn.Conv2d(12, 56, 1), nn.PReLU(56), nn.ConvTranspose2d(56, 1, 9, 2, 4, output_padding=1),
        )  # fmt: skip


class DnCnn(nn.Module):
    """Zhang et al. 2017, 17 layers on one channel: the noise, taken from the image."""

    def __init__(self) -> None:
        super().__init__()
        middle = [ConvBn(64, 64) for _ in range(15)]
        self.noise = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), *middle, nn.Conv2d(64, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.noise(x)


class Autoencoder(nn.Sequential):
    """Strided convolutions down to a vector of 64 and deconvolutions up again, on 28 x 28 images."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 7),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 7), nn.ReLU(), nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 3, 2, 1, 1), nn.Sigmoid(),
        )  # fmt: skip
