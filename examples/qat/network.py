"""A residual network of few bits for quantization-aware training, in Brevitas's layers, from a trained float one.

Weights have ``bits`` with a scale for each channel, activations ``bits`` with one scale, all scales trained; the first
and the last layer's weights, and what these two read, have ENDS bits.  Biases are integers of 32 bits on the grid of
the sums, so that the exported file says every integer.  Needs the ``bits`` extra.

Source of trained scales: S. Esser et al., "Learned Step Size Quantization", ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import onnx
import torch
from brevitas import quant
from brevitas.core.scaling.standalone import ParameterFromStatsFromParameterScaling
from brevitas.export import export_onnx_qcdq
from brevitas.quant import scaled_int
from brevitas.quant_tensor import QuantTensor
from onnx import numpy_helper
from torch import nn

ENDS = 8
WEIGHTS = scaled_int.Int8WeightPerChannelFloatMSE.let(scaling_impl=ParameterFromStatsFromParameterScaling)
"""Integers of -(2^(b-1) - 1) .. 2^(b-1) - 1; their scales begin at the least squared error."""


def conv(inputs: int, outputs: int, kernel: int, stride: int, bits: int) -> qnn.QuantConv2d:
    return qnn.QuantConv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, bias=True,
        weight_quant=WEIGHTS, weight_bit_width=bits, bias_quant=quant.Int32Bias,
    )  # fmt: skip


def positive(bits: int) -> qnn.QuantReLU:
    return qnn.QuantReLU(act_quant=scaled_int.Uint8ActPerTensorFloatMSE, bit_width=bits, return_quant_tensor=True)


def signed(bits: int) -> qnn.QuantIdentity:
    return qnn.QuantIdentity(act_quant=scaled_int.Int8ActPerTensorFloatMSE, bit_width=bits, return_quant_tensor=True)


def plain(x: torch.Tensor | QuantTensor) -> torch.Tensor:
    """The values of ``x``, without its scale: while ranges are observed, layers hand out bare values anyway."""
    return x.value if isinstance(x, QuantTensor) else x


class Stack(nn.Module):
    """Two 3x3 convolutions beside a shortcut: as it is, or a 1x1 convolution where sizes change.

    Both parts of the sum have a grid of their own, as the engine's additions take them.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, bits: int) -> None:
        super().__init__()
        self.first = conv(inputs, outputs, 3, stride, bits)
        self.between = positive(bits)
        self.second = conv(outputs, outputs, 3, 1, bits)
        self.grid = signed(bits)
        resized = nn.Sequential(conv(inputs, outputs, 1, stride, bits), signed(bits))
        self.shortcut = nn.Identity() if stride == 1 else resized
        self.sum = positive(bits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sum(plain(self.grid(self.second(self.between(self.first(x))))) + plain(self.shortcut(x)))


class Residual(nn.Module):
    """A convolution, a Stack for each of ``channels``, a global average, a fully connected layer."""

    def __init__(self, channels: Sequence[int], classes: int, bits: int) -> None:
        super().__init__()
        pairs = zip([channels[0], *channels], channels, strict=False)
        self.image = qnn.QuantIdentity(act_quant=quant.Uint8ActPerTensorFloat, bit_width=ENDS, return_quant_tensor=True)
        self.stem, self.relu = conv(3, channels[0], 3, 1, ENDS), positive(bits)
        self.stacks = nn.Sequential(*(Stack(old, new, 1 + (new != old), bits) for old, new in pairs))
        self.average, self.mean = (
            nn.AdaptiveAvgPool2d(1),
            qnn.QuantIdentity(act_quant=quant.Uint8ActPerTensorFloat, bit_width=ENDS, return_quant_tensor=True),
        )
        self.last = qnn.QuantLinear(
            channels[-1], classes, bias=True, weight_quant=WEIGHTS, weight_bit_width=ENDS, bias_quant=quant.Int32Bias
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stacks(self.relu(self.stem(self.image(image))))
        return self.last(self.mean(self.average(plain(x)).flatten(1)))


def take_weights(model: Residual, file: Path) -> None:
    """Give ``model`` the weights and biases of a float ONNX ``file`` of its shape, batch normalization folded.

    Layers are taken in the order in which both compute them: a Stack's shortcut last.
    """
    graph = onnx.load(file).graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    copies = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    nodes = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    layers = [each for each in model.modules() if isinstance(each, qnn.QuantConv2d | qnn.QuantLinear)]
    with torch.no_grad():
        for node, layer in zip(nodes, layers, strict=True):
            weights, bias = (np.array(values[copies.get(name, name)]) for name in node.input[1:])
            layer.weight.copy_(torch.from_numpy(weights))
            layer.bias.copy_(torch.from_numpy(bias))


def export(model: Residual, side: int, path: Path) -> None:
    """Write ``model`` as ONNX with its integers: Q, Clip and DQ, input ``image``, any number of images."""
    export_onnx_qcdq(
        model.eval(), args=torch.rand(1, 3, side, side), export_path=str(path), opset_version=13, dynamo=False,
        input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
    )  # fmt: skip
