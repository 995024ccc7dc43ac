"""The second opinion: ONNX Runtime, told to sum exactly on every processor."""

from __future__ import annotations

from collections.abc import Sequence

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


def run_tensors(model: onnx.ModelProto, images: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
    """Tensors of ``model`` by name, inner ones too."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    for name in names:
        watched.graph.output.append(onnx.ValueInfoProto(name=name))
    return session(watched).run(list(names), {model.graph.input[0].name: images})


def kernels(model: onnx.ModelProto, path: str) -> list[str]:
    """Operators that ONNX Runtime runs after its optimizations, in order; ``path`` is a file to use."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = path
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]
