"""The second opinion: ONNX Runtime, told to sum exactly on every processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime

from systolith import golden, quant
from systolith.quant import FeatureMap
from systolith.quant.graph.host import Softmax

LEVELS = ["DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL"]  # of ONNX Runtime's graph optimization


def session(model: onnx.ModelProto, level: str = "ENABLE_ALL") -> onnxruntime.InferenceSession:
    """A session whose 8-bit kernels do not saturate 16-bit pair sums on processors without VNNI.

    level : of graph optimization, as ONNX Runtime calls it
    """
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, images: np.ndarray, level: str = "ENABLE_ALL") -> np.ndarray:
    """The one output of ``model``."""
    return session(model, level).run(None, {model.graph.input[0].name: fed(model, images)})[0]


def fed(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """``images``, (N, C, rows, columns), in the shape of the model's input: a signal has no rows, a vector neither,

    and a volume has slices.
    """
    sizes = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    if len(sizes) == 4:
        channels, slices, *size = sizes
        return np.ascontiguousarray(images.reshape(len(images), slices, channels, *size).swapaxes(1, 2))
    return images.reshape(len(images), *sizes) if len(sizes) < 3 else images


def run_tensors(
    model: onnx.ModelProto,
    images: np.ndarray,
    names: Sequence[str],
    given: Mapping[str, np.ndarray] | None = None,
    level: str = "ENABLE_ALL",
) -> list[np.ndarray]:
    """Tensors of ``model`` by name, inner ones too, at a ``level`` of optimization.

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
    feeds = {graph.input[0].name: fed(model, images), **given}
    found = dict(zip(wanted, session(watched, level).run(wanted, feeds), strict=True))
    return [given[name] if name in given else found[name] for name in names]


def kernels(model: onnx.ModelProto, path: str) -> list[str]:
    """Operators that ONNX Runtime runs after its optimizations, in order; ``path`` is a file to use."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = path
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]


def linear_add(
    kind: type, operator: str = "QLinearAdd", shape: Sequence[str] = ("N",)
) -> Callable[[np.ndarray, np.ndarray, Sequence[FeatureMap]], np.ndarray]:
    """ONNX Runtime's ``operator`` of two arrays of ``kind``, with the grids of the maps (a, b, y)."""
    code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    inputs = []
    for name in "aby":
        if name != "y":
            inputs.append(onnx.helper.make_tensor_value_info(name, code, [f"{name}_{axis}" for axis in shape]))
        inputs.append(onnx.helper.make_tensor_value_info(f"{name}_scale", onnx.TensorProto.FLOAT, []))
        inputs.append(onnx.helper.make_tensor_value_info(f"{name}_zero", code, []))
    made = linear_model(operator, inputs, code)
    running = session(made)

    def run(a: np.ndarray, b: np.ndarray, maps: Sequence[FeatureMap]) -> np.ndarray:
        feeds = {"a": a, "b": b}
        for name, grid in zip("aby", maps, strict=True):
            feeds |= {f"{name}_scale": np.array(grid.scale), f"{name}_zero": np.array(grid.zero_point, kind)}
        return running.run(None, feeds)[0]

    return run


def linear_model(operator: str, inputs: list[onnx.ValueInfoProto], code: int, **attributes: int) -> onnx.ModelProto:
    """One of ONNX Runtime's own integer operators, its output called y."""
    node = onnx.helper.make_node(
        operator, [value.name for value in inputs], ["y"], domain="com.microsoft", **attributes
    )
    graph = onnx.helper.make_graph([node], operator, inputs, [onnx.helper.make_tensor_value_info("y", code, None)])
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)


def table(
    operator: str, attributes: Mapping[str, float | str], source: FeatureMap, target: FeatureMap, values: np.ndarray
) -> np.ndarray:
    """What ONNX Runtime makes of bytes ``values`` through DequantizeLinear, ``operator``, QuantizeLinear."""
    constants = {f"{n}_scale": np.array(g.scale) for n, g in (("x", source), ("y", target))}
    constants |= {f"{n}_zero": np.array(g.zero_point, np.uint8) for n, g in (("x", source), ("y", target))}
    inputs = ["real"]
    if operator == "Clip":
        constants |= {name: np.float32(value) for name, value in attributes.items()}
        inputs, attributes = ["real", "min", "max"], {}
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["real"]),
        onnx.helper.make_node(operator, inputs, ["raw"], **attributes),
        onnx.helper.make_node("QuantizeLinear", ["raw", "y_scale", "y_zero"], ["y"]),
    ]
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in "xy")
    stored = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, operator, [x], [y], stored)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    return session(made).run(None, {"x": values})[0]


def without_kernel(graph: quant.Graph) -> list[str]:
    """Tensors that ONNX Runtime computes in float: normalizations, and averages but for those of the whole map."""
    found = []
    for layer in graph.layers:
        whole = isinstance(layer, quant.AveragePool) and layer.kernel == graph.map_of(layer.input).shape[1:]
        in_integers = not isinstance(layer, quant.AveragePool) or (whole and not any(layer.pads))
        if not in_integers or isinstance(layer, quant.Normalization):
            found.append(layer.output)
    return found


def assert_equal_at_every_level(graph: quant.Graph, images: np.ndarray) -> None:
    """Golden and ONNX Runtime agree on every map of ``graph``, none given, with optimizations and without."""
    model = quant.to_onnx(graph)
    found = golden.run(graph, golden.quantize_input(graph, images))
    names = [name for name, tensor in graph.tensors.items() if isinstance(tensor, FeatureMap)]
    for level in LEVELS:
        for name, expected in zip(names, run_tensors(model, images, names, level=level), strict=True):
            np.testing.assert_array_equal(found[name], expected.reshape(found[name].shape), err_msg=name)
    assert_same_output(graph, golden.output(graph, images)[0], run(model, images))


def assert_every_tensor_equal(graph: quant.Graph, images: np.ndarray, level: str = "ENABLE_ALL") -> None:
    """Golden and ONNX Runtime agree on every tensor of ``graph``, given those that ONNX Runtime computes in float."""
    model = quant.to_onnx(graph)
    found = golden.run(graph, golden.quantize_input(graph, images))
    assert list(found) == list(graph.tensors)
    names = [name for name, tensor in graph.tensors.items() if isinstance(tensor, FeatureMap)]
    floats = without_kernel(graph)
    given = {name: found[name] for name in floats}
    for name, expected in zip(names, run_tensors(model, images, names, given, level), strict=True):
        np.testing.assert_array_equal(found[name], expected.reshape(found[name].shape), err_msg=name)
    y, y_q = golden.output(graph, images)
    np.testing.assert_array_equal(y_q.reshape(-1), found[graph.output].reshape(-1))
    if not floats and level == "ENABLE_ALL":  # the whole file alone, so that ONNX Runtime fuses whatever it can
        expected = run(model, images, level)
        assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
        assert_same_output(graph, y, expected)


def assert_same_output(graph: quant.Graph, found: np.ndarray, expected: np.ndarray) -> None:
    """The same numbers, to the bit; behind a Softmax of the host nearly.

    A Softmax is floats of the host, not integers: powers and their sums are float64 here, float32 there.
    """
    array = graph.arrays.get(graph.output)
    if array and any(isinstance(step, Softmax) for step in array.steps):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    else:
        np.testing.assert_array_equal(found, expected)
