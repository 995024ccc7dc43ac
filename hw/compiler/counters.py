"""What no accelerator counts to."""

from .engine_layer import EngineLayer


def beyond(layer: EngineLayer) -> str | None:
    """What of ``layer`` the engine does not count to, and to what it does; None for nothing."""
    limits = {
        "kernel rows": (layer.kernel[0], 256),
        "kernel columns": (layer.kernel[1], 256),
        "row stride": (layer.strides[0], 255),
        "row dilation": (layer.dilations[0], 255),
        "values in a column stride": (layer.strides[1] * layer.source[0], (1 << 22) - 1),
        "values in a column dilation": (layer.dilations[1] * layer.source[0], (1 << 22) - 1),
        "rows": (layer.source[1], 32767),
        "values in a row": (layer.source[0] * layer.source[2], (1 << 22) - 1),
        "pooling window": (max(layer.pool.kernel) if layer.pool else 1, 256),
        "pooling stride": (max(layer.pool.strides) if layer.pool else 1, 255),
    }
    for name, (value, limit) in limits.items():
        if value > limit:
            return f"{name} of {value}; the engine counts to {limit}"
    return None
