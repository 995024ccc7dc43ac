"""Train ResNet-8 on patches of photographs and write the files that the example starts from.

``python -m examples.resnet8.train``; needs the ``torch`` extra and three minutes on one core.  Training draws new
patches in every step, from its own cells of the photographs (``patches.py``).  Writes ``resnet8.onnx``,
``calibration.npz`` (``x``) and ``test.npz`` (``x``, ``y``) beside this script.

Source: C. Banbury et al., "MLPerf Tiny Benchmark", 2021, for the shape: its ResNet-8 for 3x32x32 images, with ReLU.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from examples.export import export

from .patches import CLASSES, SEED, SIDE, patches

HERE = Path(__file__).resolve().parent
STEPS = 3000
BATCH = 40
CALIBRATION, TEST = 100, 200


class Stack(nn.Module):
    """Two 3x3 convolutions beside a shortcut: as it is, or a 1x1 convolution where sizes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x))


def resnet8() -> nn.Sequential:
    """For (N, 3, 32, 32) images of 0..1."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        Stack(16, 16, 1), Stack(16, 32, 2), Stack(32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(CLASSES)),
    )  # fmt: skip


def train() -> nn.Sequential:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    random = np.random.default_rng(SEED)
    model = resnet8()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=8e-3, total_steps=STEPS)
    total = 0.0
    for step in range(1, STEPS + 1):
        images, labels = patches("training", BATCH, random)
        loss = nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 100 == 0:
            print(f"step {step} of {STEPS}: loss {total / 100:.4f}", flush=True)
            total = 0.0
    return model.eval()


def main() -> None:
    model = train()
    images, labels = patches("testing", 2000, np.random.default_rng(SEED + 1))
    with torch.no_grad():
        guesses = model(torch.from_numpy(images)).argmax(1).numpy()
    print(f"accuracy {np.mean(guesses == labels):.4f} of {len(labels)} patches from cells that training never saw")
    export(model, (3, SIDE, SIDE), HERE / "resnet8.onnx")
    calibration, _ = patches("calibration", CALIBRATION, np.random.default_rng(SEED + 2))
    np.savez_compressed(HERE / "calibration.npz", x=calibration)
    np.savez_compressed(HERE / "test.npz", x=images[:TEST], y=labels[:TEST])


if __name__ == "__main__":
    main()
