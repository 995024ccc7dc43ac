"""ONNX Runtime's integers beside golden's: of each layer alone, and of the whole file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith import golden, quant
from systolith.commands.golden import load_images
from systolith.quant.graph.ports import real_name

from .runtime import Floats, session

Integers = NDArray[Any]
COMPUTED = "|computed"


def differences(path: Path, images: Floats) -> tuple[int, int, dict[str, tuple[int, int]]]:
    """Compare what ONNX Runtime and golden make of the quantized file ``path``.

    Returns how many integers its maps have, how many values of its outputs (before the steps that are the host's) are
    unlike with optimizations on, and by level of optimization how many integers are unlike where each layer reads
    golden's own maps, with the largest difference in steps.
    """
    model, graph = onnx.load(path), quant.load(path)
    feeds = load_images(graph, images)[1]
    found = golden.run(graph, {name: golden.quantize(x, graph.map_of(name)) for name, x in feeds.items()})
    fed = {real_name(name): images for name in graph.inputs}
    maps = {name: values for name, values in found.items() if isinstance(graph.tensors[name], quant.FeatureMap)}
    made = {name for node in model.graph.node for name in node.output}
    sums = {name: f"{name}_last" if f"{name}_last" in made else name for name in graph.outputs if name not in maps}
    whole = _run(model, fed, [*maps, *sums.values()], "all")
    outputs = 0
    for name in graph.outputs:
        right = found[name] if name in maps else golden.dequantize(found[name], graph.tensors[name])
        outputs += int(np.count_nonzero(right.reshape(-1) != whole[sums.get(name, name)].reshape(-1)))
    shaped = {name: values.reshape(whole[name].shape) for name, values in maps.items()}
    alone = _each_alone(model, shaped)
    names = [name for name in shaped if any(name + COMPUTED in node.output for node in alone.graph.node)]
    levels = {}
    for level in ("off", "all"):
        each = _run(alone, fed | shaped, [name + COMPUTED for name in names], level)
        apart = [np.abs(shaped[name].astype(np.int32) - each[name + COMPUTED]) for name in names]
        levels[level] = sum(int(np.count_nonzero(steps)) for steps in apart), max(int(steps.max()) for steps in apart)
    return sum(values.size for values in maps.values()), outputs, levels


def _run(model: onnx.ModelProto, fed: Mapping[str, Integers], names: list[str], level: str) -> dict[str, Integers]:
    """The tensors ``names`` of ``model``, inner ones too."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    running = session(watched.SerializeToString(), level)
    known = {value.name for value in running.get_inputs()}
    feeds = {name: values for name, values in fed.items() if name in known}
    return dict(zip(names, running.run(names, feeds), strict=True))


def _each_alone(model: onnx.ModelProto, maps: Mapping[str, Integers]) -> onnx.ModelProto:
    """``model`` with each of ``maps`` fed to its readers; what is computed of it has another name."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    for node in cut.graph.node:
        node.output[:] = [name + COMPUTED if name in maps else name for name in node.output]
    for name, values in maps.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        cut.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, values.shape))
    return cut
