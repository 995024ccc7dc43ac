"""From a path to a model: bounded reading, external data included, and what holds for any graph."""

from __future__ import annotations

import reprlib
import stat
from collections.abc import Container, Iterator
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

from ..graph.errors import ModelError
from .budget import LARGEST_FILE
from .file import STANDARD_DOMAINS, describe, node_name, opset, refuse, shown
from .foreign import foreign
from .local_functions import inlined

LONGEST_NAME = 1000


def load_model(source: onnx.ModelProto | str | Path) -> onnx.ModelProto:
    """The model in ``source``, a path or a ModelProto, external data included.

    Raises ModelError if it is not one, is larger than LARGEST_FILE, or its names are not what ONNX wants.
    """
    model = source if isinstance(source, onnx.ModelProto) else _read(Path(source))
    _check_texts(model.graph, *(node for body in model.functions for node in body.node))
    check_graph(model.graph, opset(model))
    _check_outputs(model.graph)
    if model.functions:
        model = inlined(model)
        _check_texts(model.graph)
        check_graph(model.graph, opset(model))
    if not isinstance(source, onnx.ModelProto):
        _load_external_data(model.graph, Path(source).parent)
    return model


def _read(path: Path) -> onnx.ModelProto:
    try:
        size = check_file(path)
        with path.open("rb") as file:
            data = file.read(size)
    except OSError as error:
        raise ModelError(f"cannot read the model '{path}': {error.strerror or error}") from error
    except ValueError as error:  # a null character in the path
        raise ModelError(f"cannot read the model '{path}': {error}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(f"'{path}' is not an ONNX model, or it is truncated") from error
    if not model.graph.node and not model.opset_import:
        raise ModelError(f"'{path}' is not an ONNX model: it holds no graph")
    return model


def check_file(path: Path) -> int:
    """Size of the file at ``path``, in bytes.  Raises ModelError if it may be without end, or is too large."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise ModelError(f"cannot read '{path}': it is a device or a pipe; copy what it holds into a file")
    if found.st_size > LARGEST_FILE:
        raise ModelError(f"'{path}' has {found.st_size:,} bytes; at most {LARGEST_FILE:,} are read")
    return found.st_size


def _check_texts(graph: onnx.GraphProto, *others: onnx.NodeProto) -> None:
    """Raises ModelError if a name is not text, which protobuf lets pass, or would not fit a line of text.

    others : the nodes of the model's own functions
    """
    nodes = (*graph.node, *others)
    values = (*graph.initializer, *graph.input, *graph.output, *(item for node in nodes for item in node.attribute))
    names = [name for node in nodes for name in (node.name, node.op_type, node.domain, *node.input, *node.output)]
    names += [size.dim_param for value in graph.input for size in value.type.tensor_type.shape.dim]
    for name in (*names, *(value.name for value in values)):
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
            raise ModelError(
                f"a name in the model is {reprlib.repr(name)}; it must be text of at most {LONGEST_NAME} characters"
            )
    for inner in _inner_graphs(graph):
        _check_texts(inner)


def _load_external_data(graph: onnx.GraphProto, folder: Path) -> None:
    """Read what tensors keep in other files.  Raises ModelError if those do not hold just what the shapes say."""
    total = 0
    for tensor in filter(uses_external_data, _tensors(graph)):
        what = f"tensor '{tensor.name}': its external data cannot be read"
        with foreign(what):
            info = ExternalDataInfo(tensor)
            size = check_file(folder / info.location) - (info.offset or 0)
            wanted = prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        size = size if info.length is None else info.length
        if size > wanted:
            raise ModelError(
                f"{what}: they have {size:,} bytes, but its shape {shown(list(tensor.dims))} takes {wanted:,}"
            )
        total += size
        if total > LARGEST_FILE:
            raise ModelError(f"{what}: with those before they have {total:,} bytes; at most {LARGEST_FILE:,} are read")
        with foreign(what):
            load_external_data_for_tensor(tensor, str(folder))


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from (item.t for item in node.attribute if item.HasField("t"))
    for inner in _inner_graphs(graph):
        yield from _tensors(inner)


def _inner_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graphs that nodes such as If hold."""
    yield from (item.g for node in graph.node for item in node.attribute if item.HasField("g"))


def check_graph(graph: onnx.GraphProto, version: int, outside: Container[str] = ()) -> None:
    """Raises ModelError unless every tensor is made once, and every node has its inputs and a name of its own.

    version : of the standard operators;  outside : the tensors known around an inner graph
    Source: ONNX IR, "Names Within a Graph"
    """
    stored = {tensor.name for tensor in graph.initializer}
    made = [(value.name, "an input") for value in graph.input if value.name not in stored]
    made += [(tensor.name, "an initializer") for tensor in graph.initializer]
    nodes: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if not node.output or not node.output[0]:
            raise refuse(node, "its output has no name; every output that is used needs one")
        _check_inputs(node, version)
        made += [(name, describe(node)) for name in node.output if name]
        other = nodes.setdefault(node_name(node), node)
        if other is not node:
            raise ModelError(
                f"two nodes are called '{node_name(node)}', one {other.op_type} and one {node.op_type};"
                " every node needs a name of its own, or none"
            )
    makers: dict[str, str] = {}
    for name, maker in made:
        if not name:
            raise ModelError(f"{maker} has no name; every tensor needs one")
        if name in makers or name in outside:
            first = makers.get(name, "what is around this graph")
            raise ModelError(f"tensor '{name}' is made twice, by {first} and by {maker}; rename one")
        makers[name] = maker


def _check_outputs(graph: onnx.GraphProto) -> None:
    """Raises ModelError if two outputs of the model are one name, so that neither could have its own array."""
    names = [value.name for value in graph.output]
    if twice := [name for n, name in enumerate(names) if name in names[:n]]:
        raise ModelError(f"the output '{twice[0]}' is given twice; leave one out")


def _check_inputs(node: onnx.NodeProto, version: int) -> None:
    """Raises ModelError if a standard operator has more inputs than it takes, or one is missing that it needs."""
    if node.domain not in STANDARD_DOMAINS:
        return
    if not onnx.defs.has(node.op_type):
        return  # what is no operator is refused by whoever would compute it
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        schema = onnx.defs.get_schema(node.op_type)  # younger than the model
    if len(node.input) > schema.max_input:
        raise refuse(node, f"has {len(node.input)} inputs; {node.op_type} takes {schema.max_input} at most")
    options = onnx.defs.OpSchema.FormalParameterOption
    for index, formal in enumerate(schema.inputs):
        given = node.input[index:] if formal.option == options.Variadic else node.input[index : index + 1]
        if formal.option != options.Optional and not (given and all(given)):
            raise refuse(node, f"its input {index + 1}, {formal.name}, is missing; {node.op_type} needs it")
