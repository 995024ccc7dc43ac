"""What is left to the host at the end of a model: refused by name, or the same numbers as ONNX Runtime's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from systolith import quant, quantize_model, run_golden
from systolith.quant.graph.host import Reshape, Softmax

from . import models, oracle

LEFT = (
    "reads what is left to the host, ArgMax, LogSoftmax, Softmax at the end; end the model before it, and let the"
    " program that calls the accelerator do the rest"
)


def classifier(opset: int = 21) -> models.Builder:
    return models.Builder((2, 3, 3), opset=opset).flatten().gemm(18, 4)


def behind(*node, **attributes) -> models.Builder:
    """A node that reads a softmax."""
    return classifier().node("Softmax").node(*node, **attributes)


def first_constant(operator: str, **attributes) -> models.Builder:
    """A node that reads a constant, then a softmax."""
    net = classifier().node("Softmax")
    return net.join(operator, net.constant(np.float32([[2]])), net.current, **attributes)


def of_a_constant() -> models.Builder:
    net = classifier()
    last = net.current
    return net.join("Add", last, net.at(net.constant(np.float32([[1, 2, 3, 4]]))).node("ArgMax", axis=1).current)


def fixed_batch(*shape: int) -> models.Builder:
    """Images of a batch of 4, reshaped to ``shape``."""
    net = classifier()
    net.inputs[0].type.tensor_type.shape.dim[0].dim_value = 4
    return net.node("Reshape", np.array(shape))


REFUSED = {
    "softmax's axis": (
        lambda: classifier().node("Softmax", axis=5),
        "node 'softmax1' (Softmax): axis is 5, beyond the 2 axes of its input",
    ),
    "softmax's axis from behind": (
        lambda: classifier().node("LogSoftmax", axis=-3),
        "node 'logsoftmax1' (LogSoftmax): axis is -3, beyond the 2 axes of its input",
    ),
    "old softmax's axis": (
        lambda: classifier(11).node("Softmax", axis=3),
        "node 'softmax1' (Softmax): axis is 3, beyond the 2 axes of its input",
    ),
    "old softmax of images": (
        lambda: classifier(11).node("Softmax", axis=0),
        "node 'softmax1' (Softmax): is over all axes from 0 on, as before opset 13; a later opset takes one axis",
    ),
    "argmax's axis": (
        lambda: classifier().node("ArgMax", axis=2),
        "node 'argmax1' (ArgMax): axis is 2, beyond the 2 axes of its input",
    ),
    "argmax of images": (
        lambda: classifier().node("ArgMax", axis=-2),
        "node 'argmax1' (ArgMax): ArgMax along axis 0 does not fit an array of 1x4, whose images must stay apart",
    ),
    "a training dropout": (
        lambda: behind("Dropout", np.float32(0.5), np.array(True)),
        "node 'dropout1' (Dropout): training_mode is true; export the model for inference",
    ),
    "flatten's axis": (
        lambda: behind("Flatten", axis=9),
        "node 'flatten2' (Flatten): axis is 9, beyond the 2 axes of its input",
    ),
    "a size of 0": (
        lambda: behind("Reshape", np.array([0, 4]), allowzero=1),
        "node 'reshape1' (Reshape): shape is [0, 4] for an input of [1, 4]; it does not fit",
    ),
    "mixed images": (
        lambda: behind("Reshape", np.array([2, 2])),
        "node 'reshape1' (Reshape): makes [2, 2] of [1, 4]; the images must stay apart",
    ),
    "squeezed values": (
        lambda: behind("Squeeze", np.array([1])),
        "node 'squeeze1' (Squeeze): axes are [1] of an input of [1, 4]; only axes of size 1 can go",
    ),
    "an attribute that nothing has": (
        lambda: behind("Unsqueeze", np.array([1]), weird=3),
        "node 'unsqueeze1' (Unsqueeze): attribute 'weird' is not supported; remove it",
    ),
    "transpose's order": (
        lambda: behind("Transpose", perm=[0, 0]),
        "node 'transpose1' (Transpose): perm is [0, 0]; it must have each of 2 axes once",
    ),
    "a product with a constant": (lambda: first_constant("Mul"), f"node 'mul1' (Mul): {LEFT}"),
    "joined with a constant": (lambda: first_constant("Concat", axis=1), f"node 'concat1' (Concat): {LEFT}"),
    "a shape that is computed": (
        lambda: first_constant("Reshape"),
        "node 'reshape1' (Reshape): its first input must be the image 'softmax1_out', not 'constant_2'",
    ),
    "of a constant": (
        of_a_constant,
        "node 'argmax1' (ArgMax): depends on constants only, and is not computed here; store what it makes as an"
        " initializer",
    ),
    "no axes": (
        lambda: models.Builder((2, 3, 3)).flatten().gemm(18, 1).node("Reshape", np.zeros(0, np.int64)),
        "node 'reshape1' (Reshape): makes a tensor of 0 axes; 1 to 32 work",
    ),
    "images on the second axis": (
        lambda: fixed_batch(1, 4, 4),
        "'reshape1_out' mixes the images of a batch; keep them apart, as its first axis",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    make, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(make().model())
    assert str(caught.value) == message


RENAMED = {
    "flattened": lambda net: net.node("Flatten", axis=-2),
    "reshaped": lambda net: net.node("Reshape", np.array([0, -1, 2])),
    "squeezed": lambda net: net.node("Squeeze", np.array([-3])),
    "unsqueezed": lambda net: net.node("Unsqueeze", np.array([1, -1])),
    "transposed": lambda net: net.node("Transpose", perm=[0, 3, 1, 2]).node("Identity"),
}


@pytest.mark.parametrize("case", RENAMED)
def test_names_of_axes_behind_the_hosts_argmax(case):
    """Integers, so the same to the bit: what ONNX Runtime makes of them, its shape too."""
    net = models.Builder((2, 3, 4)).conv(2, 5, 1).node("ArgMax", axis=1)
    model = RENAMED[case](net).model()
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    images = models.images(model, 6)
    file = quantize_model(model, images).model
    found, expected = run_golden(file, images).y, oracle.run(file, images)
    assert found.shape == expected.shape == oracle.run(model, images).shape
    np.testing.assert_array_equal(found, expected)


def test_a_dropout_of_inference_makes_no_step():
    net = behind("Dropout", np.float32(0.5), np.array(False))
    (array,) = quant.load_float(net.model()).arrays.values()
    assert array.steps == (Reshape((4,)), Softmax(1))
