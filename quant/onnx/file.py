"""Reading ONNX files: one place that names nodes, finds attributes and turns tensors into arrays, or says why not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ..graph.errors import ModelError

Array = NDArray[Any]
STANDARD_DOMAINS = ("", "ai.onnx")
OLDEST_OPSET = 7


def load_model(source: onnx.ModelProto | str | Path) -> onnx.ModelProto:
    """The model in ``source``, a path or a ModelProto, external data included.  Raises ModelError if it is not one."""
    if isinstance(source, onnx.ModelProto):
        return source
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the model '{path}': {error.strerror}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(f"'{path}' is not an ONNX model, or it is truncated") from error
    if not model.graph.node and not model.opset_import:
        raise ModelError(f"'{path}' is not an ONNX model: it holds no graph")
    _check_names(model, path)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"'{path}': its external data cannot be read: {first_line(error)}") from error
    return model


def _check_names(model: onnx.ModelProto, path: Path) -> None:
    """Raises ModelError if a name is not text, which protobuf lets pass, or a node makes nothing."""
    graph = model.graph
    names = [name for node in graph.node for name in (node.name, node.op_type, node.domain, *node.input, *node.output)]
    names += [item.name for node in graph.node for item in node.attribute]
    names += [value.name for value in (*graph.initializer, *graph.input, *graph.output)]
    if not all(isinstance(name, str) for name in names) or not all(node.output for node in graph.node):
        raise ModelError(f"'{path}' is damaged: a name in it is not text, or a node has no output")


def first_line(error: Exception) -> str:
    """What another package's ``error`` says, without the rest."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operators that ``model`` uses.  Raises ModelError below 7."""
    version = max((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), default=1)
    if version < OLDEST_OPSET:
        raise ModelError(
            f"the model uses opset {version}; {OLDEST_OPSET} or newer works, so export or convert it again"
        )
    return version


def array(tensor: onnx.TensorProto) -> Array:
    """The values of ``tensor``.  Raises ModelError if its data are missing or do not fit its shape."""
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (OSError, ValueError, TypeError, KeyError, onnx.checker.ValidationError) as error:
        raise ModelError(f"tensor '{tensor.name}': its values cannot be read: {first_line(error)}") from error


def describe(node: onnx.NodeProto) -> str:
    """``node 'name' (Operator)``; a nameless node is called by what it makes."""
    name = f"'{node.name}'" if node.name else f"that makes '{node.output[0] if node.output else ''}'"
    domain = f"{node.domain}." if node.domain not in STANDARD_DOMAINS else ""
    return f"node {name} ({domain}{node.op_type})"


def node_name(node: onnx.NodeProto) -> str:
    """The node's own name, or one made of its operator and output."""
    return node.name or f"{node.op_type}_{node.output[0]}"


def refuse(node: onnx.NodeProto, reason: str) -> ModelError:
    """The error that names ``node`` and says what was found and what would work."""
    return ModelError(f"{describe(node)}: {reason}")


class Attributes:
    """The attributes of one node, read by name; any that nobody asked for is refused by ``finish``."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.node = node
        self._values = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        self._asked: set[str] = set()

    def raw(self, name: str, default: Any) -> Any:
        self._asked.add(name)
        return self._values.get(name, default)

    def integer(self, name: str, default: int) -> int:
        value = self.raw(name, default)
        if not isinstance(value, int):
            raise refuse(self.node, f"{name} is {value!r}; it must be an integer")
        return value

    def real(self, name: str, default: float) -> float:
        value = self.raw(name, default)
        if not isinstance(value, int | float) or math.isnan(value):
            raise refuse(self.node, f"{name} is {value!r}; it must be a number")
        return float(value)

    def text(self, name: str, default: str) -> str:
        value = self.raw(name, default)
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def integers(self, name: str, default: tuple[int, ...], least: int) -> tuple[int, ...]:
        """As many integers as ``default`` has, none below ``least``."""
        found = self.raw(name, default)
        right = isinstance(found, list | tuple) and all(isinstance(value, int) for value in found)
        if not right or len(found) != len(default) or min(found) < least:
            shown = list(found) if isinstance(found, tuple) else found
            raise refuse(self.node, f"{name} is {shown}; it must be {len(default)} values of at least {least}")
        return tuple(found)

    def finish(self) -> None:
        """Raises ModelError if the node has an attribute that was not asked for."""
        for name in self._values:
            if name not in self._asked:
                raise refuse(self.node, f"attribute '{name}' is not supported; remove it")


def initializers(model: onnx.ModelProto) -> dict[str, Array]:
    """The constant tensors stored in ``model`` by name."""
    if model.graph.sparse_initializer:
        raise ModelError("sparse initializers are not supported; store the weights as dense tensors")
    return {tensor.name: array(tensor) for tensor in model.graph.initializer}


def single_input(model: onnx.ModelProto, constants: Mapping[str, Array]) -> onnx.ValueInfoProto:
    """The one input that is not a constant.  Raises ModelError if there are several or none, or it is not float."""
    graph = model.graph
    found = [value for value in graph.input if value.name not in constants]
    if len(found) != 1 or len(graph.output) != 1:
        names = ", ".join(repr(value.name) for value in [*found, *graph.output])
        raise ModelError(
            f"the model has {len(found)} inputs and {len(graph.output)} outputs ({names}); it must have one of each"
        )
    kind = found[0].type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT:
        type_name = next((name for name, value in onnx.TensorProto.DataType.items() if value == kind), str(kind))
        raise ModelError(f"input '{found[0].name}' has type {type_name}; it must be FLOAT")
    result: onnx.ValueInfoProto = found[0]
    return result


def image_dimensions(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Dimensions (N, C, H, W) or (N, C, L) of the input ``value``, with N 1 if it is symbolic."""
    dimensions = [
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else (d.dim_param or "?")
        for d in value.type.tensor_type.shape.dim
    ]
    sizes = [d for d in dimensions[1:] if isinstance(d, int)]
    if len(dimensions) not in (3, 4) or len(sizes) != len(dimensions) - 1:
        shown = "x".join(str(d) for d in dimensions) or "unknown"
        raise ModelError(f"input '{value.name}' has shape {shown}; it must be NxCxHxW with fixed C, H and W, or NxCxL")
    batch = dimensions[0] if isinstance(dimensions[0], int) else 1
    return batch, *sizes
