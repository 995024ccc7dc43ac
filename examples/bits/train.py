"""Train the networks of ``make bench-bits``, and cut the patches that they are calibrated and tested on.

Everything is kept in a folder, so that a second run costs nothing: ``NAME-SEED.onnx`` and ``NAME-SEED.pt``, the float
network and its weights; ``calibration-SEED.npz``, ``x``; ``test.npz``, ``x`` and ``y``.  A network takes one to two
minutes on one core.  ``python -m examples.bits.train FOLDER`` trains them all.  Needs the ``bits`` extra.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from examples.export import export
from examples.resnet8.patches import SIDE, patches

from .networks import NETWORKS, Recipe, initialized

SEEDS = (0, 1, 2)
BATCH = 32
CALIBRATION, TEST = 256, 2000
CHANGE = 0.3
"""Of the patches' colours: float networks are then right for some nine of ten patches after a minute of training."""

TEST_SEED = 3001
"""Patches of testing are drawn by this, those of calibration and of training by the network's own seed."""


def test_images(folder: Path) -> Path:
    """The file with TEST patches and their classes, for all networks."""
    path = folder / "test.npz"
    if not path.exists():
        x, y = patches("testing", TEST, np.random.default_rng(TEST_SEED), CHANGE)
        np.savez_compressed(path, x=x, y=y)
    return path


def calibration_images(folder: Path, seed: int) -> Path:
    """The file with CALIBRATION patches of cells that neither training nor testing cuts from."""
    path = folder / f"calibration-{seed}.npz"
    if not path.exists():
        np.savez_compressed(path, x=patches("calibration", CALIBRATION, np.random.default_rng(1000 + seed), CHANGE)[0])
    return path


def train(recipe: Recipe, seed: int) -> nn.Sequential:
    """A network trained on new patches in every step, with its learning rate in one cycle."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = initialized(recipe.build).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.rate, total_steps=recipe.steps)
    for _ in range(recipe.steps):
        images, labels = patches("training", BATCH, random, CHANGE)
        inputs = torch.from_numpy(images).to(memory_format=torch.channels_last)
        loss = nn.functional.cross_entropy(model(inputs), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return model.to(memory_format=torch.contiguous_format).eval()


def accuracy(model: nn.Module, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The share of ``images`` that ``model`` classifies as ``labels`` say."""
    with torch.no_grad():
        guesses = torch.cat([model(batch).argmax(1) for batch in torch.from_numpy(images).split(250)])
    return float(np.mean(guesses.numpy() == labels))


def trained(name: str, seed: int, folder: Path) -> nn.Sequential:
    """The network ``name`` of ``seed``, trained if the folder has it not yet; its ONNX file is beside its weights."""
    weights = folder / f"{name}-{seed}.pt"
    model = NETWORKS[name].build().eval()
    if weights.exists():
        model.load_state_dict(torch.load(weights, weights_only=True))
        return model
    began = time.monotonic()
    model = train(NETWORKS[name], seed)
    export(model, (3, SIDE, SIDE), folder / f"{name}-{seed}.onnx")
    half = weights.with_suffix(".part")
    torch.save(model.state_dict(), half)
    half.rename(weights)
    with np.load(test_images(folder)) as test:
        found = accuracy(model, test["x"], test["y"])
    print(f"{name} {seed}: float {found:.4f}, trained in {time.monotonic() - began:.0f} s", flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.bits.train", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for models and data")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    test_images(folder)
    for seed in SEEDS:
        calibration_images(folder, seed)
        for name in NETWORKS:
            trained(name, seed, folder)


if __name__ == "__main__":
    main()
