"""The second opinion: ONNX Runtime, told to sum exactly on every processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session whose 8-bit kernels do not saturate 16-bit pair sums on processors without VNNI."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """The one output of ``model``."""
    return session(model).run(None, {model.graph.input[0].name: images})[0]


def run_tensors(
    model: onnx.ModelProto,
    images: np.ndarray,
    names: Sequence[str],
    given: Mapping[str, np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Tensors of ``model`` by name, inner ones too.

    Those of ``given`` are not computed, but taken from there: what ONNX Runtime has no integer kernel for.
    """
    given = dict(given or {})
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    nodes = [node for node in graph.node if not set(node.output) & set(given)]
    del graph.node[:]
    graph.node.extend(nodes)
    for name, values in given.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        graph.input.append(onnx.helper.make_tensor_value_info(name, kind, values.shape))
    wanted = [name for name in names if name not in given]
    found = dict(zip(wanted, session(watched).run(wanted, {graph.input[0].name: images, **given}), strict=True))
    return [given[name] if name in given else found[name] for name in names]


def kernels(model: onnx.ModelProto, path: str) -> list[str]:
    """Operators that ONNX Runtime runs after its optimizations, in order; ``path`` is a file to use."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = path
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]
