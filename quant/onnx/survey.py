"""Everything at once that keeps a float model from being imported, not the first obstacle alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from ..graph.errors import ModelError
from ..networks.layers import FloatGraph
from ..networks.passes import simplify
from .context import Dimensions
from .file import FLOATS, describe
from .foreign import foreign
from .importer import Walk
from .load import load_model
from .placing import Maps
from .view import MAP_AXES, VOLUME

SMALL = 1024  # bytes of a constant that may say a shape
OTHERWISE = (
    "rewrite it with supported operators before the export, or cut the model there (onnx.utils.extract_model) and leave"
    " the rest to the host"
)
AT_THE_END = "the host's: cut the model before it (onnx.utils.extract_model), and compute it from the outputs"
STATISTICS = "statistics of each image cannot be folded; train with BatchNorm in its place"
RECURRENT = "no recurrent layers; keep the convolutions before it, and leave it to the host"
REMEDIES = {
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "RoiAlign", "MaxRoiPool", "TopK", "Unique", "ArgMin"), AT_THE_END),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization", "LayerNormalization"), STATISTICS),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), RECURRENT),
    **dict.fromkeys(("Loop", "Scan"), "export it unrolled, with a fixed number of steps"),
    "Einsum": "write the product with a constant as MatMul or Conv",
    "GridSample": "sampling positions of each image are not known ahead; the host's, or a Resize",
}


@dataclass(frozen=True)
class Refusal:
    """A node, or "" for the whole model, why it does not work, and what would."""

    node: str
    operator: str
    reason: str
    remedy: str


@dataclass(frozen=True, eq=False)
class Survey:
    """``network``, simplified, if nothing was refused; ``unseen`` nodes depend on what was, and were not judged."""

    network: FloatGraph | None
    refusals: tuple[Refusal, ...]
    unseen: tuple[str, ...] = ()


def survey(source: onnx.ModelProto | str | Path) -> Survey:
    """What works in a float ONNX model, and all that does not.

    Behind a refused node the import goes on from the shape of its output, if ONNX can infer that.
    Raises ModelError for what is no ONNX model, or has inputs that cannot be told.
    """
    model = load_model(source)
    found = _Found(_inferred(model))
    walk = Walk(model, found.add)
    found.maps = walk.maps
    walk.nodes(model.graph.node)
    if found.refusals:
        return Survey(None, tuple(found.refusals), tuple(found.unseen))
    try:
        return Survey(simplify(walk.graph()), ())
    except ModelError as error:
        return Survey(None, (_refusal(str(error)),))


class _Found:
    """Takes what is refused; ``maps`` are the walk's, for what it goes on from."""

    def __init__(self, inferred: Mapping[str, Dimensions]) -> None:
        self.inferred = inferred
        self.maps = Maps()
        self.refusals: list[Refusal] = []
        self.unseen: list[str] = []
        self.unknown: set[str] = set()

    def add(self, node: onnx.NodeProto, error: ModelError) -> None:
        if self.unknown & set(node.input):
            self.unseen.append(describe(node))
        else:
            self.refusals.append(_refusal(str(error), node))
        for name in node.output:
            if name in self.inferred:
                self.maps.add_map(name, self.inferred[name])
            else:
                self.unknown.add(name)


def _refusal(said: str, node: onnx.NodeProto | None = None) -> Refusal:
    """``said`` is what the import says; where that is only that an operator is not known, what would work is added."""
    if node is None:
        return Refusal("", "", said, "")
    reason = said.removeprefix(f"{describe(node)}: ")
    known = "not supported" not in reason
    return Refusal(node.name, node.op_type, reason, "" if known else REMEDIES.get(node.op_type, OTHERWISE))


def _inferred(model: onnx.ModelProto) -> dict[str, Dimensions]:
    """Shapes that ONNX infers, of 2 to 5 axes; a batch, or another size that is not known, is 1."""
    bare = onnx.ModelProto(ir_version=max(4, model.ir_version), opset_import=model.opset_import)
    graph = model.graph
    bare.graph.CopyFrom(onnx.GraphProto(name="shapes", node=graph.node, input=graph.input, output=graph.output))
    named = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if tensor.ByteSize() <= SMALL:
            bare.graph.initializer.append(tensor)
        elif tensor.name not in named:
            bare.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        with foreign("shapes cannot be inferred"):
            made = onnx.shape_inference.infer_shapes(bare)
    except ModelError:
        return {}
    found = {}
    for value in (*made.graph.value_info, *made.graph.output):
        kind = value.type.tensor_type
        sizes = tuple(max(1, size.dim_value) for size in kind.shape.dim)
        if kind.elem_type in FLOATS and len(sizes) in (*MAP_AXES, VOLUME):
            found[value.name] = sizes
    return found
