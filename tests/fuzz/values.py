"""What changes put in: extreme numbers, arrays and names, and where in a model."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from systolith.quant.onnx.composed import COMPOSED
from systolith.quant.onnx.constants import FOLDABLE
from systolith.quant.onnx.hosted import STEPS
from systolith.quant.onnx.operators import BUILDERS
from systolith.quant.onnx.shaping import SHAPING

Random = np.random.Generator

WHOLE = [0, 1, -1, 2, 3, 4, 5, 8, 31, 64, 255, 256, 1000, 4096, 65535, 10**5, 10**6, 2**24, 2**31 - 1, 2**31, 2**32]
WHOLE += [2**40, 2**62, 2**63 - 1, -2, -4, -(2**31), -(2**32), -(2**63)]
REAL = [0.0, -0.0, 1.0, -1.0, 0.5, 6.0, 1e-45, -1e-38, 1e-20, 1e10, 3e38, -3e38, np.inf, -np.inf, np.nan]
OPERATORS = {*BUILDERS, *COMPOSED, *FOLDABLE, *SHAPING, *STEPS, "Constant", "DequantizeLinear", "Einsum", "If"}
OPERATORS = sorted({*OPERATORS, "QuantizeLinear"})
ATTRIBUTES = ["alpha", "axes", "axis", "auto_pad", "beta", "ceil_mode", "dilations", "end", "epsilon", "group", "mode"]
ATTRIBUTES += ["blocksize", "count_include_pad", "coordinate_transformation_mode", "output_padding", "output_shape"]
ATTRIBUTES += ["keepdims", "num_outputs", "scales", "split"]
ATTRIBUTES += ["kernel_shape", "pads", "perm", "shape", "size", "start", "strides", "to", "transB", "value"]
KINDS = [np.float32, np.float64, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint64, np.bool_]
NAMES = ["", "x", "image", "a\nb", "ü", "n" * 300]


def pick(random: Random, items):
    return items[int(random.integers(0, len(items)))]


def names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    found = [name for node in graph.node for name in (*node.input, *node.output)]
    return [*found, *(tensor.name for tensor in graph.initializer), *NAMES]


def some_node(model: onnx.ModelProto, random: Random) -> onnx.NodeProto:
    return pick(random, model.graph.node) if model.graph.node else model.graph.node.add()


def some_attribute(model: onnx.ModelProto, random: Random) -> onnx.AttributeProto:
    found = [item for node in model.graph.node for item in node.attribute]
    return pick(random, found) if found else some_node(model, random).attribute.add(name="axis", type=2)


def some_tensor(model: onnx.ModelProto, random: Random) -> onnx.TensorProto:
    found = [*model.graph.initializer]
    found += [item.t for node in model.graph.node for item in node.attribute if item.HasField("t")]
    return pick(random, found) if found else model.graph.initializer.add(name="new", data_type=1)


def value_of(random: Random) -> int:
    return int(pick(random, WHOLE)) if random.random() < 0.7 else int(random.integers(-4, 40))


def random_attribute(item: onnx.AttributeProto, random: Random) -> None:
    """Give ``item`` a value of a random type, or, one time in eight, of none."""
    item.type = int(random.integers(0, 15)) if random.random() < 1 / 8 else int(pick(random, [1, 2, 3, 4, 5, 6, 7]))
    count = int(random.integers(0, 9))
    item.f, item.i, item.s = (
        float(pick(random, REAL)),
        value_of(random),
        pick(random, [b"", b"SAME_UPPER", b"linear", b"edge", b"\xff"]),
    )
    del item.ints[:], item.floats[:]
    item.ints.extend(value_of(random) for _ in range(count))
    item.floats.extend(float(pick(random, REAL)) for _ in range(count))
    item.t.CopyFrom(numpy_helper.from_array(random_array(random)))
    if random.random() < 7 / 8:
        for name, kind in (("f", 1), ("i", 2), ("s", 3), ("t", 4), ("floats", 6), ("ints", 7)):
            if item.type != kind:
                item.ClearField(name)


def random_array(random: Random) -> np.ndarray:
    """Of any type and a few dimensions, with extremes among the values; or one that says a large shape."""
    shape = tuple(int(size) for size in random.integers(0, 5, random.integers(0, 5)))
    if random.random() < 0.3:
        return np.array([value_of(random) for _ in range(random.integers(1, 5))], np.int64)
    values = random.choice(REAL, shape) if random.random() < 0.5 else random.standard_normal(shape)
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(pick(random, KINDS))


def new_constant(model, random, values=None) -> str:
    name = f"given{len(model.graph.initializer)}"
    array = random_array(random) if values is None else np.asarray(values)
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name
