"""One function for each ONNX operator: a node becomes a layer of the float network, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..networks.functions import DEFAULTS
from .context import (
    Built,
    Context,
)
from .dense import gemm, matmul
from .elementwise import (
    add,
    batch_normalization,
    clip,
    concat,
    divide,
    function,
    multiply,
    negate,
    prelu,
    relu,
    subtract,
)
from .file import Attributes, refuse
from .mixtures import NODES, mixture, swish
from .spelled_lrn import local_response
from .windowed import (
    average_pool,
    conv,
    conv_transpose,
    global_average_pool,
)


def lrn(context: Context) -> Built:
    attributes = Attributes(context.node)
    size = attributes.integer("size", 0)
    alpha, beta, bias = (attributes.real(*pair) for pair in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    attributes.finish()
    if size < 1:
        raise refuse(context.node, f"size is {size}; it must be at least 1")
    return local_response(context, context.current, size, alpha, beta, bias), context.dimensions


# Every operator that a float model may contain, besides constant sub-graphs.
BUILDERS: Mapping[str, Callable[[Context], Built]] = {
    **dict.fromkeys(DEFAULTS, function),
    **dict.fromkeys(NODES, mixture),
    "Add": add,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Div": divide,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "LRN": lrn,
    "MatMul": matmul,
    "Mul": multiply,
    "Neg": negate,
    "PRelu": prelu,
    "Relu": relu,
    "Sub": subtract,
    "Sum": add,
    "Swish": swish,
}
