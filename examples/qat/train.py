"""Train ResNet-8 for 4-bit weights and activations, from the float network of ``examples/resnet8``.

``python -m examples.qat.train FOLDER`` takes some minutes, writes ``resnet8-4bit.onnx``, loads it as it is, and prints
golden's accuracy on 2,000 patches beside float's, and how many of golden's outputs are not ONNX Runtime's.  Needs the
``bits`` extra.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from brevitas.graph.calibrate import calibration_mode
from torch import nn

from examples.accuracy import run_onnxruntime
from examples.resnet8.patches import CLASSES, SEED, SIDE, patches
from systolith import golden, quant
from systolith.commands.golden import accuracy

from .network import Residual, export, take_weights

FLOAT = Path(__file__).resolve().parent.parent / "resnet8" / "resnet8.onnx"
CHANNELS = (16, 32, 64)
BITS = 4
STEPS, BATCH, RATE = 1600, 40, 2e-3
TEST = 2000


def train(model: Residual, teacher: Path, steps: int) -> None:
    """Ranges from some patches of training, then weights and scales together, new patches in every step.

    The loss is cross-entropy with the classes, and with what the float network ``teacher`` says of the same patches.

    Source: G. Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.
    """
    random = np.random.default_rng(SEED + 3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(teacher, options, providers=["CPUExecutionProvider"])
    with torch.no_grad(), calibration_mode(model.eval()):
        for _ in range(8):
            model(torch.from_numpy(patches("training", BATCH, random)[0]))
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps, pct_start=0.1)
    for step in range(1, steps + 1):
        images, labels = patches("training", BATCH, random)
        said = torch.from_numpy(session.run(None, {"image": images})[0]).softmax(1)
        outputs = model(torch.from_numpy(images))
        entropy = nn.functional.cross_entropy
        loss = (entropy(outputs, torch.from_numpy(labels)) + entropy(outputs, said)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.qat.train", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for the trained network")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # torch's exporter, of what it will drop
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    images, labels = patches("testing", TEST, np.random.default_rng(SEED + 1))
    exact = accuracy(run_onnxruntime(FLOAT, images), labels)
    began = time.monotonic()
    model = Residual(CHANNELS, len(CLASSES), BITS)
    take_weights(model, FLOAT)
    train(model, FLOAT, options.steps)
    path = options.folder / f"resnet8-{BITS}bit.onnx"
    export(model, SIDE, path)
    seconds = time.monotonic() - began
    outputs = golden.output(quant.load(path), images)[0]
    found, unlike = accuracy(outputs, labels), int(np.count_nonzero(outputs != run_onnxruntime(path, images)))
    print(f"{path}: trained in {seconds:.0f} s; {TEST} patches: float {exact:.2%}, {BITS} bits {found:.2%};")
    print(f"outputs of golden that are not ONNX Runtime's: {unlike} of {outputs.size}")


if __name__ == "__main__":
    main()
