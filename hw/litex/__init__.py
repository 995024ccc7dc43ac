"""The accelerator in a LiteX SoC: `systolith package --for litex` writes the files beside this one, as they are."""

from importlib.resources import files


def source(name: str) -> bytes:
    """The file ``name`` of this folder."""
    return (files(__package__) / name).read_bytes()
