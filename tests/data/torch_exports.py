"""Make the .onnx files of this folder: three networks, each written by both of PyTorch's exporters.

Made with torch 2.13, onnxscript 0.7; kept as files so that the tests do without PyTorch.
"""

from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).resolve().parent


class Net(nn.Module):
    """Batch norm, ReLU6, a flattening by ``view`` with the size taken from the input, dropout and a last softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout()
        self.linear = nn.Linear(4 * 5 * 5, 6)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = torch.max_pool2d(nn.functional.relu6(self.norm(self.conv(image))), 2)
        return torch.log_softmax(self.linear(self.dropout(hidden.view(image.size(0), -1))), 1)


class Lrn(nn.Module):
    """A local response normalization between two convolutions, as in AlexNet: PyTorch has no operator for it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3)
        self.lrn = nn.LocalResponseNorm(5, alpha=0.5, beta=0.75, k=2.0)
        self.second = nn.Conv2d(6, 4, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.second(self.lrn(torch.relu(self.first(image))))


class Branches(nn.Module):
    """A residual sum, a concatenation, averages with and without padding, and functions, as PyTorch writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.slope = nn.PReLU()
        self.linear = nn.Linear(12, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.hardswish(self.norm(self.first(image)))
        total = torch.relu(self.second(hidden) + hidden)
        pooled = nn.functional.avg_pool2d(total, 3, 2, 1, ceil_mode=True)
        other = torch.sigmoid(nn.functional.max_pool2d(hidden, 3, 2, 1, ceil_mode=True))
        joined = torch.cat([self.slope(pooled), other], 1)
        averages = nn.functional.adaptive_avg_pool2d(joined, 1).flatten(1) + joined.mean((2, 3))
        return self.linear(averages)


def main() -> None:
    torch.manual_seed(5)
    net = Net()
    for _ in range(20):
        net(torch.randn(16, 2, 10, 10) * 3 + 1)  # gives the batch norm statistics of its own
    export(net.eval(), torch.randn(2, 2, 10, 10), "torchscript.onnx", "dynamo.onnx")
    export(Lrn().eval(), torch.randn(2, 2, 10, 10), "lrn_torchscript.onnx", "lrn_dynamo.onnx")
    export(Branches().eval(), torch.randn(2, 2, 9, 10), "branches_torchscript.onnx", "branches_dynamo.onnx")


def export(net: nn.Module, example: torch.Tensor, torchscript: str, dynamo: str) -> None:
    """Write ``net`` with both exporters, for any number of images."""
    names = {"input_names": ["image"], "output_names": ["scores"]}
    axes = {"image": {0: "N"}, "scores": {0: "N"}}
    torch.onnx.export(net, (example,), HERE / torchscript, dynamo=False, dynamic_axes=axes, **names)
    batch = {"image": {0: torch.export.Dim("N")}}
    program = torch.onnx.export(net, (example,), dynamo=True, dynamic_shapes=batch, **names)
    model = program.model_proto
    # Stack traces and the like: paths of the machine that it was made on.
    parts = [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer]
    for part in [*parts, *model.graph.input, *model.graph.output]:
        del part.metadata_props[:]
    (HERE / dynamo).write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
