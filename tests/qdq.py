"""QDQ models written by hand, node by node, in the spellings of other tools."""

from __future__ import annotations

import numpy as np
from onnx import helper

from . import models


class Qdq:
    """A QDQ chain written by hand, node by node, in the spellings of other tools."""

    def __init__(self) -> None:
        self.net = models.Builder((2, 6, 6))

    def q(self, scale=0.05, zero_point=128, kind=np.uint8, name=None):
        return self._linear("QuantizeLinear", scale, zero_point, kind, name)

    def dq(self, scale=0.05, zero_point=128, kind=np.uint8, name=None):
        return self._linear("DequantizeLinear", scale, zero_point, kind, name)

    def _linear(self, operator, scale, zero_point, kind, name):
        self.net.node(operator, np.float32(scale), np.array(zero_point, kind), name=name)
        return self

    def qdq(self, **grid):
        return self.q(**grid).dq(**grid)

    def node(self, *arguments, **keywords):
        self.net.node(*arguments, **keywords)
        return self

    def weights(self, values, scale, zero_point=None, axis=0, name="weights"):
        """A DequantizeLinear of the constant ``values``; returns what to pass to ``layer``."""
        constants = [self.net.constant(values, f"{name}_q"), self.net.constant(np.float32(scale), f"{name}_scale")]
        if zero_point is not None:
            constants.append(self.net.constant(zero_point, f"{name}_zero"))
        self.net.nodes.append(helper.make_node("DequantizeLinear", constants, [name], f"{name}_dq", axis=axis))
        return name

    def layer(self, operator, *names, **attributes):
        self.net.nodes.append(
            helper.make_node(operator, [self.net.current, *names], ["layer_out"], "layer", **attributes)
        )
        self.net.current = "layer_out"
        return self

    def model(self):
        return self.net.model()


WEIGHTS = np.random.default_rng(2).integers(-127, 128, (4, 2, 3, 3)).astype(np.int8)


def conv_chain(scale=0.01, zero_point=None, **attributes) -> Qdq:
    chain = Qdq().qdq()
    return chain.layer("Conv", chain.weights(WEIGHTS, scale, zero_point), **attributes)
