"""Make the .onnx files of this folder: small networks, quantized while "training", in Brevitas' two formats.

Made with brevitas 0.13.4, torch 2.13; kept as files so that the tests do without them.
"""

from pathlib import Path

import brevitas.nn as qnn
import torch
from brevitas import quant
from brevitas.export import export_onnx_qcdq, export_qonnx
from torch import nn

HERE = Path(__file__).resolve().parent
SIZE = 8


class Net(nn.Module):
    """Two convolutions and a linear layer of ``bits``; ``form`` is what stands between them."""

    def __init__(
        self,
        form: str,
        bits: int,
        bias: type | None = None,
        weights: type = quant.Int8WeightPerTensorFloat,
        activations: type = quant.Uint8ActPerTensorFloat,
    ) -> None:
        super().__init__()
        self.form = form
        options = {"weight_bit_width": bits, "weight_quant": weights, "bias_quant": bias}
        normalized = form in ("norm", "residual")
        self.input = qnn.QuantIdentity(bit_width=8, return_quant_tensor=True)
        self.first = qnn.QuantConv2d(3, 4, 3, padding=1, bias=not normalized, **options)
        self.second = qnn.QuantConv2d(4, 4, 3, padding=1, bias=not normalized, **options)
        inputs = 4 if form in ("residual", "mean", "rounded mean") else 4 * (SIZE // 2) ** 2
        self.last = qnn.QuantLinear(inputs, 5, bias=True, **options)
        self.one, self.other = (
            qnn.QuantReLU(bit_width=bits, act_quant=activations, return_quant_tensor=True) for _ in range(2)
        )
        self.shared, self.mean = (qnn.QuantIdentity(bit_width=bits, return_quant_tensor=True) for _ in range(2))
        self.pool, self.leaky, self.average = nn.MaxPool2d(2), nn.LeakyReLU(0.1), nn.AdaptiveAvgPool2d(1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))
        self.rounded = qnn.TruncAvgPool2d(SIZE) if form == "rounded mean" else None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.input(image)
        match self.form:
            case "pool":
                x = self.other(self.second(self.pool(self.one(self.first(x)))))
            case "pool first":
                x = self.other(self.pool(self.second(self.one(self.first(x)))))
            case "norm":
                x = self.pool(self.one(self.norms[0](self.first(x))))
                x = self.other(self.norms[1](self.second(x)))
            case "residual":
                x = self.one(self.norms[0](self.first(x)))
                x = self.other(self.shared(x) + self.shared(self.norms[1](self.second(x))))
                x = self.mean(self.average(x))
            case "leaky":
                x = self.other(self.second(self.pool(self.shared(self.leaky(self.first(x))))))
            case "leaky table":
                x = self.other(self.second(self.pool(self.mean(self.leaky(self.shared(self.first(x)))))))
            case "mean":
                x = self.average(self.other(self.second(self.one(self.first(x)))))
            case "rounded mean":
                x = self.rounded(self.other(self.second(self.one(self.first(x)))))
        return self.last(x.flatten(1))


NETS = {
    "8": ("pool", 8, quant.Int32Bias),
    "4_float_bias": ("pool", 4),
    "3_channels": ("pool", 3, quant.Int32Bias, quant.Int8WeightPerChannelFloat),
    "2_float_bias": ("pool", 2),
    "pool_first": ("pool first", 8, quant.Int32Bias),
    "norm_4": ("norm", 4),
    "residual": ("residual", 8, None, quant.Int8WeightPerChannelFloat),
    "leaky": ("leaky", 8, quant.Int32Bias),
    "leaky_table": ("leaky table", 8, quant.Int32Bias),
    "mean": ("mean", 8, quant.Int32Bias),
    "rounded_mean": ("rounded mean", 8, quant.Int32Bias),
    "asymmetric": (
        "pool", 8, quant.Int32Bias, quant.ShiftedUint8WeightPerTensorFloat, quant.ShiftedUint8ActPerTensorFloat
    ),
}  # fmt: skip


def main() -> None:
    for name, settings in NETS.items():
        torch.manual_seed(0)
        net = Net(*settings).train()
        for _ in range(8):  # ranges and statistics of normal noise
            net(torch.randn(8, 3, SIZE, SIZE))
        for kind, export, version in (("qcdq", export_onnx_qcdq, 13), ("qonnx", export_qonnx, 20)):
            export(
                net.eval(),
                args=torch.randn(1, 3, SIZE, SIZE),
                export_path=str(HERE / f"{name}.{kind}.onnx"),
                opset_version=version,
                dynamo=False,
                input_names=["image"],
                dynamic_axes={"image": {0: "N"}},
            )


if __name__ == "__main__":
    main()
