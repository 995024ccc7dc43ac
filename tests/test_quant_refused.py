"""QDQ files that are not understood are refused, word for word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from systolith import quant

from .qdq import WEIGHTS, Qdq, conv_chain

LENET = Path(__file__).parent.parent / "examples" / "lenet5"


def wrong_axis():
    chain = Qdq().qdq()
    return chain.layer("Conv", chain.weights(WEIGHTS, [0.1, 0.2], axis=1)).qdq()


def residual():
    chain = conv_chain().qdq()
    net = chain.net
    net.nodes.append(helper.make_node("Add", [net.current, "dequantizelinear1_out"], ["sum"], "shortcut"))
    net.current = "sum"
    return chain


def blocks():
    chain = Qdq().qdq()
    chain.layer("Conv", chain.weights(WEIGHTS, 0.1))
    chain.net.nodes[-2].attribute.append(helper.make_attribute("block_size", 2))
    return chain.qdq()


def with_bias_at_no_scale() -> Qdq:
    chain = Qdq().qdq(scale=1e-45)  # times the weights' scale it is 0 as float32
    return chain.layer("Conv", chain.weights(WEIGHTS, 0.01), chain.weights(np.ones(4, np.int32), 1, name="bias")).qdq()


# What to build, and the whole message.
REFUSED = {
    "float model": (
        lambda: Qdq().node("Conv", np.ones((3, 2, 3, 3), np.float32)),
        "node 'conv1' (Conv): reads the input 'image' before a QuantizeLinear; leave what is before the first one to"
        " the host (onnx.utils.extract_model), or quantize the model first",
    ),
    "float weights": (
        lambda: Qdq().qdq().node("Conv", np.ones((3, 2, 3, 3), np.float32)).qdq(),
        "node 'conv1' (Conv): its weights 'conv1_0' are not quantized; they need a DequantizeLinear before",
    ),
    "DQ of another scale": (
        lambda: Qdq().q().dq(scale=0.06),
        "node 'dequantizelinear1' (DequantizeLinear): has scale 0.06 and zero point 128, "
        "but 'quantizelinear1_out' was quantized with 0.05 and 128; they must agree",
    ),
    "no Q between layers": (
        lambda: conv_chain().node("Sigmoid").qdq(),
        "node 'sigmoid1' (Sigmoid): reads 'layer_out', which is not quantized; "
        "it needs QuantizeLinear and DequantizeLinear before",
    ),
    "no DQ": (
        lambda: Qdq().q().node("Sigmoid").dq(),
        "node 'sigmoid1' (Sigmoid): reads integers, 'quantizelinear1_out'; a DequantizeLinear must come before",
    ),
    "clip between steps": (
        lambda: Qdq().qdq().node("Clip", np.float32(0), np.float32(0.12)).node("Sigmoid").qdq(),
        "node 'sigmoid1' (Sigmoid): reads 'clip1_out', clipped to 0..0.12 but not quantized, and a bound is no multiple"
        " of its scale 0.05; it needs QuantizeLinear and DequantizeLinear before",
    ),
    "activation function last": (
        lambda: conv_chain().node("Relu"),
        "node 'relu1' (Relu): makes 'relu1_out', which is not quantized; "
        "it needs QuantizeLinear and DequantizeLinear after",
    ),
    "axis": (
        wrong_axis,
        "node 'layer' (Conv): its weights' scales lie along the wrong axis; one for each of 4 outputs works",
    ),
    "branch": (
        residual,
        "node 'shortcut' (Add): adds maps of shapes [1, 4, 4, 4] and [1, 2, 6, 6]; they must be equal",
    ),
    "negative scale": (
        lambda: Qdq().qdq(scale=-1),
        "node 'quantizelinear1' (QuantizeLinear): its scale 'quantizelinear1_0' must be float32, finite and positive",
    ),
    "scale not finite": (
        lambda: Qdq().qdq(scale=np.inf),
        "node 'quantizelinear1' (QuantizeLinear): its scale 'quantizelinear1_0' must be float32, finite and positive",
    ),
    "blocks": (
        blocks,
        "node 'weights_dq' (DequantizeLinear): block_size is set; "
        "only one scale for the tensor, or one for each channel, works",
    ),
    "per-channel map": (
        lambda: Qdq().node("QuantizeLinear", np.ones(2, np.float32), np.zeros(2, np.uint8)),
        "node 'quantizelinear1' (QuantizeLinear): has 2 scales; a feature map must have one",
    ),
    "operator": (
        lambda: Qdq().qdq().node("Einsum").qdq(),
        "node 'einsum1' (Einsum): is not supported in a quantized model; quantize the float model",
    ),
    "clip without zero": (
        lambda: conv_chain().node("Clip", np.float32(1), np.float32(2)).qdq(),
        "node 'clip1' (Clip): clips to a range without 0; the range must contain 0, so that 0 stays exact",
    ),
    "no quantization": (
        lambda: Qdq().node("Identity"),
        "the model has no QuantizeLinear node; it is not quantized (systolith quantize makes one that is)",
    ),
    "max of one": (
        lambda: Qdq().qdq().node("Max").qdq(),
        "node 'max1' (Max): has 1 inputs; of two it works, so write it as nodes of two",
    ),
    "max of three": (
        lambda: Qdq().qdq().node("Max", np.float32(0), np.float32(1)).qdq(),
        "node 'max1' (Max): has 3 inputs; of two it works, so write it as nodes of two",
    ),
    "bias out of range": (
        with_bias_at_no_scale,
        "layer 'layer': its bias does not fit int32 at the scale of its sums; use larger weight scales",
    ),
    "no layers": (lambda: Qdq().qdq(), "the model has no layers; there is nothing to compute"),
    "two inputs": (
        lambda: _with_second_input(conv_chain().qdq()),
        "no QuantizeLinear reads the input 'second'; quantize the model first",
    ),
}


def _with_second_input(chain: Qdq) -> Qdq:
    chain.net.inputs.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, ["N", 3]))
    return chain


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_in_one_line(case):
    change, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load(change().model())
    assert str(caught.value) == message


def test_a_constant_of_another_domain_is_not_taken_for_a_standard_one():
    chain = conv_chain().qdq()
    chain.net.nodes.insert(0, helper.make_node("Constant", [], ["c"], "c", domain="elsewhere", value_int=1))
    with pytest.raises(quant.ModelError) as caught:
        quant.load(chain.model())
    assert str(caught.value) == (
        "node 'c' (elsewhere.Constant): operators of domain 'elsewhere' are not supported; only standard ONNX ones are"
    )


def test_an_output_that_is_the_input_is_refused():
    model = conv_chain().qdq().model()
    model.graph.output.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, None))
    with pytest.raises(quant.ModelError) as caught:
        quant.load(model)
    assert str(caught.value) == "the output 'image' is not what any node makes from the input"


def test_the_last_sums_at_no_scale_are_refused():
    chain = Qdq().qdq(scale=1e-45)
    chain.layer("Conv", chain.weights(WEIGHTS, 0.01), chain.weights(np.ones(4, np.int32), 1, name="bias"))
    with pytest.raises(quant.ModelError) as caught:
        quant.load(chain.model())
    assert str(caught.value) == "layer 'layer': the scale of its sums is 0 as float32; use larger scales"
