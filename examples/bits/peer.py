"""Brevitas's post-training tools at one setting, in several combinations.

Before: cross-layer equalization, or activation equalization.  Weights: to the nearest integer, by GPTQ, or by GPFQ,
both on inputs that the quantized layers before make.  Behind: bias correction.  Weights have a scale for each channel,
activations one each, by the least squared error where Brevitas searches for it; sums of the last layer are handed out
as they are.  Needs the ``bits`` extra.
"""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.core.scaling.standalone import ParameterFromStatsFromParameterScaling
from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
from brevitas.graph.equalize import activation_equalization_mode
from brevitas.graph.gpfq import gpfq_mode
from brevitas.graph.gptq import gptq_mode
from brevitas.graph.quantize import preprocess_for_quantize, quantize
from brevitas.quant import scaled_int
from numpy.typing import NDArray
from torch import nn

from .rows import Row
from .settings import Setting
from .train import accuracy

Floats = NDArray[np.float32]
BATCH = 256
"""All of calibration at once, which takes half the time of quarters."""

EQUALIZATIONS = 20
"""Iterations of cross-layer equalization."""


@dataclass(frozen=True)
class Combination:
    """What is done before the weights are rounded, and how they are; bias correction always follows."""

    before: Literal["equalization", "activation equalization"]
    rounding: Literal["nearest", "GPTQ", "GPFQ"]

    @property
    def name(self) -> str:
        return f"{self.before}, {self.rounding}"


COMBINATIONS = (
    Combination("equalization", "nearest"),
    Combination("equalization", "GPTQ"),
    Combination("equalization", "GPFQ"),
    Combination("activation equalization", "GPTQ"),
)
WIDE = COMBINATIONS[:2]
"""Those for weights of 6 bits and more, where the others give no more, and take a minute."""

MODES = {"GPTQ": gptq_mode, "GPFQ": gpfq_mode}


def combinations(setting: Setting) -> tuple[Combination, ...]:
    """Those that are tried at ``setting``."""
    return WIDE if setting.weights >= 6 else COMBINATIONS


def measure(
    name: str, seed: int, setting: Setting, how: Combination, model: nn.Module, calibration: Floats,
    test: tuple[Floats, NDArray[np.int64]],
) -> Row:  # fmt: skip
    """Quantize a copy of ``model`` and run it on the ``test`` images, (x, y)."""
    batches = torch.from_numpy(calibration).split(BATCH)
    began = time.monotonic()
    made = _quantized(model, setting, how, batches)
    seconds = time.monotonic() - began
    return Row(name, seed, setting.name, "Brevitas", accuracy(made, *test), seconds, how.name)


def _quantized(
    model: nn.Module, setting: Setting, how: Combination, batches: tuple[torch.Tensor, ...]
) -> torch.fx.GraphModule:
    torch.manual_seed(0)
    crosswise = how.before == "equalization"
    traced = preprocess_for_quantize(deepcopy(model), equalize_iters=EQUALIZATIONS if crosswise else 0)
    if not crosswise:
        with torch.no_grad(), activation_equalization_mode(traced, alpha=0.5, layerwise=False, add_mul_node=False):
            _run(traced, batches)
    made = _with_quantizers(traced, setting)
    with torch.no_grad():
        with calibration_mode(made):
            _run(made, batches)
        made(batches[0])  # which begins the scales of weights
        if how.rounding != "nearest":
            with MODES[how.rounding](made, use_quant_activations=True) as rounding:
                for _ in range(rounding.num_layers):
                    _run(rounding.model, batches)
                    rounding.update()
        with bias_correction_mode(made):
            _run(made, batches)
    return made.eval()


def _run(model: nn.Module, batches: tuple[torch.Tensor, ...]) -> None:
    for batch in batches:
        model(batch)


def _with_quantizers(traced: torch.fx.GraphModule, setting: Setting) -> torch.fx.GraphModule:
    """``traced`` with quantizers of weights, of biases and of every map between layers, but not of the last sums."""
    weighted = [layer for layer in traced.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    first, last = weighted[0], weighted[-1]
    weights = scaled_int.Int8WeightPerChannelFloatMSE.let(
        narrow_range=True, scaling_impl=ParameterFromStatsFromParameterScaling
    )
    layer = {
        "weight_quant": weights,
        "weight_bit_width": lambda module: setting.weights_of(module is first or module is last),
        "bias_quant": scaled_int.Int32Bias,
        "return_quant_tensor": False,
    }
    narrow = scaled_int.Int8ActPerTensorFloatMSE if setting.activations < 8 else scaled_int.Int8ActPerTensorFloat
    signed = {"act_quant": narrow.let(bit_width=setting.activations), "return_quant_tensor": True}
    unsigned = {**signed, "signed": False}
    made = quantize(
        traced,
        compute_layer_map={nn.Conv2d: (qnn.QuantConv2d, layer), nn.Linear: (qnn.QuantLinear, layer)},
        quant_act_map={nn.ReLU: (qnn.QuantReLU, unsigned)},
        quant_identity_map={"signed": (qnn.QuantIdentity, signed), "unsigned": (qnn.QuantIdentity, unsigned)},
    )
    _bare_output(made)
    if setting.activations_of(end=True) != setting.activations:
        _widen_inputs(made, setting.activations_of(end=True))
    return made


def _bare_output(made: torch.fx.GraphModule) -> None:
    """Take the quantizer away from the output: nobody else's last layer has one."""
    final = next(node for node in made.graph.nodes if node.op == "output").args[0]
    assert isinstance(made.get_submodule(final.target), qnn.QuantIdentity)
    made.set_submodule(final.target, nn.Identity())


def _widen_inputs(made: torch.fx.GraphModule, bits: int) -> None:
    """Give what the first and the last layer read ``bits``."""
    nodes = [node for node in made.graph.nodes if node.op == "call_module"]
    weighted = [
        node for node in nodes if isinstance(made.get_submodule(node.target), qnn.QuantConv2d | qnn.QuantLinear)
    ]
    for node in (weighted[0], weighted[-1]):
        source = node.args[0]
        while not hasattr(made.get_submodule(source.target), "act_quant"):
            source = source.args[0]
        quantizer = made.get_submodule(source.target)
        kept = quantizer.act_quant.quant_injector.let(bit_width=bits)
        options = {"act_quant": kept, "return_quant_tensor": True}
        made.set_submodule(source.target, type(quantizer)(**options))
