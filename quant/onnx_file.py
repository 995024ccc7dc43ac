"""Reading ONNX files: one place that names nodes, finds attributes and turns tensors into arrays, or says why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from .errors import ModelError

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
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"'{path}': its external data cannot be read: {error}") from error
    return model


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
        raise ModelError(f"tensor '{tensor.name}': its values cannot be read: {error}") from error


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
        return int(self.raw(name, default))

    def real(self, name: str, default: float) -> float:
        return float(self.raw(name, default))

    def text(self, name: str, default: str) -> str:
        value = self.raw(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def integers(self, name: str, default: tuple[int, ...], least: int) -> tuple[int, ...]:
        """As many integers as ``default`` has, none below ``least``."""
        found = tuple(int(value) for value in self.raw(name, default))
        if len(found) != len(default) or min(found) < least:
            raise refuse(self.node, f"{name} is {list(found)}; it must be {len(default)} values of at least {least}")
        return found

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
        type_name = onnx.TensorProto.DataType.Name(kind)
        raise ModelError(f"input '{found[0].name}' has type {type_name}; it must be FLOAT")
    result: onnx.ValueInfoProto = found[0]
    return result


def image_shape(value: onnx.ValueInfoProto) -> tuple[int, tuple[int, int, int]]:
    """Batch size (1 if symbolic) and shape (channels, rows, columns) of the input ``value``."""
    dimensions = [
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else (d.dim_param or "?")
        for d in value.type.tensor_type.shape.dim
    ]
    sizes = [d for d in dimensions[1:] if isinstance(d, int)]
    if len(dimensions) != 4 or len(sizes) != 3:
        shown = "x".join(str(d) for d in dimensions) or "unknown"
        raise ModelError(f"input '{value.name}' has shape {shown}; it must be NxCxHxW with fixed C, H and W")
    batch = dimensions[0] if isinstance(dimensions[0], int) else 1
    return batch, (sizes[0], sizes[1], sizes[2])
