"""Changes to a model that keep it a protobuf message: of nodes, attributes, tensors, names, edges and shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

from systolith.quant.onnx.constants import FOLDABLE

from .arrange import arrange_before
from .values import (
    ATTRIBUTES,
    KINDS,
    NAMES,
    OPERATORS,
    REAL,
    Random,
    names,
    new_constant,
    pick,
    random_array,
    random_attribute,
    some_attribute,
    some_node,
    some_tensor,
    value_of,
)


def mutated(model: onnx.ModelProto, random: Random) -> bytes:
    """``model`` after a few changes, often one; one file in sixteen then has some bytes wrong as well."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for _ in range(random.geometric(0.65)):
        pick(random, CHANGES)(model, random)
    data = model.SerializeToString()
    return damaged(data, random) if random.random() < 1 / 16 else data


def damaged(data: bytes, random: Random) -> bytes:
    """``data`` with bytes changed, left out or repeated."""
    result = bytearray(data)
    for _ in range(random.integers(1, 6)):
        at, length = (int(random.integers(0, len(result) + 1)), int(random.integers(0, 9)))
        change = random.integers(0, 4)
        if change == 0:
            del result[at : at + length]
        elif change == 1:
            result[at:at] = result[at : at + length]
        elif at < len(result):
            result[at] = random.integers(0, 256) if change == 2 else result[at] ^ 1 << random.integers(0, 8)
    return bytes(result)


# Nodes -----------------------------------------------------------------------------------------------------------


def delete_node(model, random):
    if model.graph.node:
        del model.graph.node[int(random.integers(0, len(model.graph.node)))]


def repeat_node(model, random):
    node = onnx.NodeProto()
    node.CopyFrom(some_node(model, random))
    if random.random() < 0.8:
        node.name += "_again"
        for index, name in enumerate(node.output):
            node.output[index] = f"{name}_again"
    nodes = list(model.graph.node)
    nodes.insert(int(random.integers(0, len(nodes) + 1)), node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def swap_nodes(model, random):
    one, other = some_node(model, random), some_node(model, random)
    kept = onnx.NodeProto()
    kept.CopyFrom(one)
    one.CopyFrom(other)
    other.CopyFrom(kept)


def change_operator(model, random):
    some_node(model, random).op_type = pick(random, OPERATORS)


def change_name(model, random):
    node = some_node(model, random)
    if random.random() < 0.8:
        node.name = pick(random, [*NAMES, *(other.name for other in model.graph.node)])
    else:
        node.domain = pick(random, ["", "ai.onnx", "com.microsoft", "x"])


def insert_before(model, random):
    """A new node between a node and what it reads."""
    node = some_node(model, random)
    if not node.input:
        return
    place = int(random.integers(0, len(node.input)))
    new = onnx.NodeProto(op_type=pick(random, OPERATORS), name=f"new{random.integers(0, 99)}")
    new.input.append(node.input[place])
    for _ in range(random.integers(0, 3)):
        new.input.append(new_constant(model, random) if random.random() < 0.8 else pick(random, names(model)))
    if random.random() < 0.3:
        random_attribute(new.attribute.add(name=pick(random, ATTRIBUTES)), random)
    new.output.append(f"{new.name}_out{random.integers(0, 99)}")
    at = next(index for index, other in enumerate(model.graph.node) if other is node or other == node)
    nodes = list(model.graph.node)
    nodes[at].input[place] = new.output[0]
    nodes.insert(at, new)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def compute_constant(model, random):
    """A constant that a node computes, mostly of inputs of the right kind, in the place of what a node reads."""
    node = some_node(model, random)
    stored = [tensor.name for tensor in model.graph.initializer]
    place = int(random.integers(0, len(node.input))) if node.input else 0
    taken = node.input[place] if node.input and node.input[place] in stored else ""
    shape = np.array([max(0, value_of(random)) for _ in range(random.integers(1, 5))], np.int64)

    def tensor() -> str:
        return taken if taken and random.random() < 0.7 else new_constant(model, random)

    def integers() -> str:
        return new_constant(model, random, shape)

    operator, inputs = pick(
        random,
        [
            ("ConstantOfShape", (integers,)),
            ("Expand", (tensor, integers)),
            ("Range", (lambda: new_constant(model, random, np.int64(value_of(random))),) * 3),
            ("Concat", (tensor,) * int(random.integers(1, 5))),
            ("Gather", (tensor, integers)),
            ("Reshape", (tensor, integers)),
            ("Slice", (tensor, integers, integers)),
            *((operator, (tensor, tensor)) for operator in ("Add", "Div", "Mul", "Pow", "Max")),
            *((operator, (tensor,)) for operator in ("Identity", "Transpose", "Cast", "Exp", "Shape", "Squeeze")),
            (pick(random, sorted(FOLDABLE)), (tensor,) * int(random.integers(0, 4))),
        ],
    )
    new = onnx.NodeProto(op_type=operator, name=f"computed{random.integers(0, 10**6)}")
    new.input.extend(make() for make in inputs)
    new.output.append(f"{new.name}_out")
    if operator in ("Cast", "Concat"):
        new.attribute.add(name={"Cast": "to", "Concat": "axis"}[operator], type=2, i=int(random.integers(0, 2)))
    if random.random() < 0.1:
        random_attribute(new.attribute.add(name=pick(random, ATTRIBUTES)), random)
    if node.input and random.random() < 0.8:
        node.input[place] = new.output[0]
    nodes = [new, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def choose_branch(model, random):
    """An If around a node, whose branch may be missing."""
    node = some_node(model, random)
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    for index, name in enumerate(inner.output):
        inner.output[index] = f"{name}_inside"
    node.Clear()
    node.op_type, node.name = "If", f"{inner.name}_if"
    node.output.extend(name.removesuffix("_inside") for name in inner.output)
    taken = bool(random.integers(0, 2))
    name = f"condition{len(model.graph.initializer)}"
    model.graph.initializer.append(numpy_helper.from_array(np.array(taken), name))
    node.input.append(name)
    for branch in ("then_branch", "else_branch"):
        if random.random() < 0.8:
            graph = node.attribute.add(name=branch, type=5).g
            graph.node.append(inner)
            graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner.output)


# Attributes ------------------------------------------------------------------------------------------------------


def add_attribute(model, random):
    random_attribute(some_node(model, random).attribute.add(name=pick(random, ATTRIBUTES)), random)


def delete_attribute(model, random):
    node = some_node(model, random)
    if node.attribute:
        del node.attribute[int(random.integers(0, len(node.attribute)))]


def rename_attribute(model, random):
    some_attribute(model, random).name = pick(random, ATTRIBUTES)


def replace_attribute(model, random):
    random_attribute(some_attribute(model, random), random)


def change_value(model, random):
    """One number of an attribute, the rest as it is."""
    item = some_attribute(model, random)
    if item.ints:
        item.ints[int(random.integers(0, len(item.ints)))] = value_of(random)
    elif item.HasField("f"):
        item.f = float(pick(random, REAL))
    else:
        item.i = value_of(random)


# Tensors ---------------------------------------------------------------------------------------------------------


def change_dims(model, random):
    """The shape that a tensor claims, whatever it holds."""
    dims = some_tensor(model, random).dims
    change = random.integers(0, 4)
    if change == 0 or not dims:
        dims.insert(int(random.integers(0, len(dims) + 1)), value_of(random))
    elif change == 1:
        del dims[int(random.integers(0, len(dims)))]
    else:
        dims[int(random.integers(0, len(dims)))] = value_of(random)


def change_type(model, random):
    some_tensor(model, random).data_type = int(random.integers(0, 30))


def change_data(model, random):
    tensor = some_tensor(model, random)
    data = bytearray(tensor.raw_data)
    change = random.integers(0, 3)
    if change == 0:
        data = data[: int(random.integers(0, len(data) + 1))]
    elif change == 1:
        data += random.bytes(random.integers(1, 9))
    else:
        data = bytearray(random.bytes(len(data)))
    tensor.raw_data = bytes(data)


def change_array(model, random):
    """Another array of a legal form: the same values arranged, converted or scaled, or one of them extreme."""
    tensor = some_tensor(model, random)
    try:
        values = numpy_helper.to_array(tensor).copy()
    except (ValueError, TypeError, KeyError, OSError, onnx.checker.ValidationError):
        return
    if values.dtype.kind not in "iufb":
        return
    change = random.integers(0, 6)
    with np.errstate(all="ignore"):
        if change == 0:
            values = values.transpose(random.permutation(values.ndim))
        elif change == 1:
            values = values.astype(pick(random, KINDS))
        elif change == 2 and values.size:
            extreme = (
                pick(random, REAL) if values.dtype.kind == "f" else np.array(value_of(random)).astype(values.dtype)
            )
            values.flat[int(random.integers(0, values.size))] = extreme
        elif change == 3:
            values = (values * np.float64(pick(random, REAL))).astype(values.dtype)
        elif change == 4:
            values = values.reshape(pick(random, [(-1,), (1, *values.shape), (*values.shape, 1), (1, -1)]))
        elif values.ndim:
            axis = int(random.integers(0, values.ndim))
            values = (
                np.take(
                    values, random.integers(0, max(1, values.shape[axis]), random.integers(0, 9)), axis, mode="clip"
                )
                if values.size
                else values
            )
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def replace_array(model, random):
    tensor = some_tensor(model, random)
    tensor.CopyFrom(numpy_helper.from_array(random_array(random), tensor.name))


def move_outside(model, random):
    """Values in another file, which may be none."""
    tensor = some_tensor(model, random)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    places = ["", ".", "..", "missing", "/dev/zero", "weights.bin"]
    tensor.external_data.add(key="location", value=pick(random, places))
    for key in ("offset", "length"):
        if random.random() < 0.5:
            tensor.external_data.add(key=key, value=pick(random, ["x", *(str(value_of(random)) for _ in range(9))]))


def delete_tensor(model, random):
    if model.graph.initializer:
        del model.graph.initializer[int(random.integers(0, len(model.graph.initializer)))]


def rename_tensor(model, random):
    some_tensor(model, random).name = pick(random, names(model))


# Edges and the model around them -----------------------------------------------------------------------------------


def change_input(model, random):
    node = some_node(model, random)
    if not node.input or random.random() < 0.2:
        node.input.append(pick(random, names(model)))
    elif random.random() < 0.2:
        del node.input[int(random.integers(0, len(node.input)))]
    else:
        node.input[int(random.integers(0, len(node.input)))] = pick(random, ["", *names(model)])


def change_output(model, random):
    node = some_node(model, random)
    if not node.output or random.random() < 0.2:
        node.output.append(pick(random, names(model)))
    elif random.random() < 0.2:
        del node.output[int(random.integers(0, len(node.output)))]
    else:
        node.output[int(random.integers(0, len(node.output)))] = pick(random, names(model))


def change_image(model, random):
    """A size of the input, consistently small or extreme."""
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and random.random() < 0.9:
            dims[int(random.integers(0, len(dims)))].dim_value = value_of(random)
        elif dims:
            dims[0].dim_param = pick(random, NAMES)


def change_ends(model, random):
    ends = pick(random, [model.graph.input, model.graph.output])
    change = random.integers(0, 4)
    if change == 0 and ends:
        del ends[0]
    elif change == 1:
        ends.add(name=pick(random, names(model)))
    elif ends:
        ends[0].name = pick(random, names(model))
        if change == 2:
            ends[0].type.tensor_type.elem_type = int(random.integers(0, 20))


def change_version(model, random):
    for entry in model.opset_import:
        entry.version = int(random.integers(1, 30)) if random.random() < 0.8 else value_of(random)


CHANGES: tuple[Callable[[onnx.ModelProto, Random], None], ...] = (
    *(delete_node, repeat_node, swap_nodes, change_operator, change_operator, change_name, choose_branch),
    *((insert_before, compute_constant, arrange_before) * 3),
    *(add_attribute, delete_attribute, rename_attribute, replace_attribute),
    *((change_value, change_array) * 6),
    *(change_dims, change_type, change_data, replace_array, replace_array, move_outside),
    *(delete_tensor, rename_tensor, change_input, change_input, change_output),
    *(change_image, change_image, change_ends, change_version),
)
"""What may be done to a model, the likelier the more often it stands here."""
