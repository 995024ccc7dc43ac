"""Models by other quantizers on accelerators: every byte of every layer is golden's, which is ONNX Runtime's."""

from __future__ import annotations

import onnx
import pytest
from onnxruntime.quantization import QuantFormat

from systolith import quant

from . import models
from .test_quant_foreign import quantized_by_onnxruntime
from .test_quant_foreign_files import DATA, STATIC, fused, noise, residual
from .test_system import BRANCHED, run

EIGHT = BRANCHED["8x8, 8-byte bus, all fits"]
WIDE = {**EIGHT, "weight_bits": 16, "sum_bits": 32, "rows": 4, "columns": 4, "normalization": 4}


@pytest.mark.xdist_group("bulk 8x8, 8-byte bus, all fits")
@pytest.mark.parametrize("name", ["8", "3_channels", "2_float_bias", "leaky_table", "mean", "rounded_mean"])
def test_brevitas(name, tmp_path):
    run(quant.load(DATA / f"{name}.qcdq.onnx"), EIGHT, tmp_path, images=noise(2))


@pytest.mark.xdist_group("bulk 8x8, 8-byte bus, all fits")
@pytest.mark.parametrize("form", [QuantFormat.QOperator, QuantFormat.QDQ], ids=["QOperator", "QDQ"])
@pytest.mark.parametrize("options", ["U8S8", "S8S8", "per channel"])
def test_onnxruntimes_quantizer(options, form, tmp_path):
    model = residual()
    images = models.images(model, 8)
    quantized = quantized_by_onnxruntime(tmp_path, model, images, quant_format=form, **dict(STATIC[options]))
    run(quant.load(quantized), EIGHT, tmp_path, images=images[:2])


@pytest.mark.xdist_group("16-bit weights")
@pytest.mark.parametrize("name", ["residual", "norm_4", "asymmetric", "fused"])
def test_weights_that_a_float_shift_or_a_shortcut_or_a_zero_point_makes_wider(name, tmp_path):
    model = fused(1.7) if name == "fused" else onnx.load(DATA / f"{name}.qcdq.onnx")
    run(quant.load(model), WIDE, tmp_path, images=noise(2))
