"""Make the files of this folder: a residual network of two stacks, trained at 4 bits, and the integers that it learned.

``python -m tests.data.qat.export`` with the ``bits`` extra.  ``residual_4bit.onnx`` is Brevitas's export,
``integers.npz`` what Brevitas itself says of it: ``weights_0``, ``weights_1``, ... in the order in which the file
computes its layers.
Made with brevitas 0.13.4, torch 2.14; kept as files so that the tests do without them.
"""

from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.graph.calibrate import calibration_mode
from torch import nn

from examples.qat.network import Residual, export

HERE = Path(__file__).resolve().parent
CHANNELS, CLASSES, BITS, SIDE = (4, 8), 3, 4, 8
STEPS = 60


def images(random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise of 0..1 whose class is its brightest channel."""
    pixels = random.random((24, 3, SIDE, SIDE)).astype(np.float32)
    labels = np.arange(len(pixels)) % CLASSES
    pixels[np.arange(len(pixels)), labels] *= np.float32(1.2)
    return torch.from_numpy(pixels.clip(0, 1)), torch.from_numpy(labels)


def main() -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model = Residual(CHANNELS, CLASSES, BITS)
    with torch.no_grad(), calibration_mode(model.eval()):
        model(images(random)[0])
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-2)
    for _ in range(STEPS):
        pixels, labels = images(random)
        loss = nn.functional.cross_entropy(model(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    export(model, SIDE, HERE / "residual_4bit.onnx")
    layers = [layer for layer in model.modules() if isinstance(layer, qnn.QuantConv2d | qnn.QuantLinear)]
    integers = {f"weights_{turn}": layer.quant_weight().int().numpy() for turn, layer in enumerate(layers)}
    np.savez_compressed(HERE / "integers.npz", **integers)


if __name__ == "__main__":
    main()
