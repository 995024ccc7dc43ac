"""PyTorch to ONNX, as the examples do it: input ``image`` and output ``logits``, any number of images."""

from pathlib import Path

import torch
from torch import nn


def export(model: nn.Module, shape: tuple[int, int, int], path: Path) -> None:
    """Write ``model`` for images of ``shape``, by the exporter that keeps the names of its modules."""
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, *shape),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )
