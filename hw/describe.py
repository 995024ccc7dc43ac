"""The manifest of a plan: registers, memory layout, and what is predicted."""

from collections.abc import Mapping
from typing import Any

from ..quant.graph import Shape, Sums
from ..quant.graph.flat import flat_tensors
from ..quant.graph.host import HostArray, onnx_operator
from ..quant.graph.ports import real_name
from .compiler.formats import storage
from .compiler.instruction import UNIT_OF
from .compiler.limits import limit_cycles, weight_bytes
from .compiler.plan import Plan
from .engine.emit import TOP
from .isa.parameters import Parameters
from .isa.program import UNITS, Operation
from .isa.register_map import CAUSES, REGISTERS, STALLS
from .manifest import (
    FORMAT,
    LATENCY,
    Array,
    Content,
    Hardware,
    InputTensor,
    Layer,
    Manifest,
    MapTensor,
    Memory,
    Regions,
    Register,
    Step,
    SumsTensor,
    Timeline,
    Work,
    Write,
)
from .model.schedule import predict
from .occupancy import blocks
from .sealed import sha256


def describe_hardware(parameters: Parameters, files: Mapping[Content, bytes]) -> Hardware:
    """What is known of the accelerator with ``parameters``, in whose folder ``files`` are."""
    return Hardware(**_hardware(parameters, files))


def _hardware(parameters: Parameters, files: Mapping[Content, bytes]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "top": TOP,
        "files": {name: sha256(content) for name, content in files.items()},
        "parameters": parameters,
        "registers": {n: Register(offset=offset, description=text) for n, (offset, text) in REGISTERS.items()},
        "causes": {str(number): text for number, text in CAUSES.items()},
        "waits": tuple(text for _, text in STALLS),
    }


def describe(plan: Plan, files: Mapping[Content, bytes]) -> Manifest:
    """Everything that a host or a simulation needs to know about ``plan``, in whose folder ``files`` are."""
    graph, p = plan.graph, plan.parameters
    prediction = predict(plan, LATENCY)
    moved = bytes_moved(plan)
    return Manifest(
        **_hardware(p, files),
        memory=Memory(bytes=plan.memory_bytes, regions=Regions(**plan.regions)),
        batch=plan.batch,
        inputs=tuple(InputTensor(**_map(plan, name), unfolding=plan.unfolding) for name in graph.inputs),
        outputs=tuple(
            (SumsTensor if isinstance(graph.tensors[name], Sums) else MapTensor)(**_map(plan, name))
            for name in graph.outputs
        ),
        layers=tuple(
            Layer(
                name=layer.name,
                operator=layer.operator,
                output=layer.tensor or layer.output,
                first=layer.spread.first,
                row_step=layer.spread.row_step,
                column_step=layer.spread.column_step,
                image=layer.image,
                address=_address(plan, number),
                **_stored(plan, layer.output),
                macs=layer.macs,
                weight_bytes=weight_bytes(layer, p),
                limit_cycles=limit_cycles(layer, p),
                predicted_cycles=prediction.layer_cycles[number],
                bytes_read=moved[number][0],
                bytes_written=moved[number][1],
                spatial_tiles=len(plan.placements[number].tiling.tiles),
                reduction_parts=len(plan.placements[number].tiling.parts),
                tile_positions=max(t.positions for t in plan.placements[number].tiling.tiles) if layer.on_array else 0,
            )
            for number, layer in enumerate(plan.layers)
        ),
        macs=sum(layer.macs for layer in plan.layers),
        predicted_cycles=prediction.cycles,
        limit_cycles=sum(limit_cycles(layer, p) for layer in plan.layers),
        instructions={o.name: sum(i.operation == o for i in plan.program) for o in Operation},
        tokens={
            f"{UNITS[u]} to {UNITS[to]}": sum(to in i.post for i in plan.program if UNIT_OF.get(i.operation) == u)
            for u in range(len(UNITS))
            for to in range(len(UNITS))
            if to != u
        },
        timeline=Timeline(
            **{unit: tuple(Work(*work) for work in found) for unit, found in prediction.timeline.items()}
        ),
        writes=tuple(Write(d.layer, *d.rows, *d.columns, *d.channels, d.group) for d in plan.drained),
        activations=tuple(blocks(plan)),
    )


def bytes_moved(plan: Plan) -> list[tuple[int, int]]:
    """Bytes that each layer reads from DRAM, weights and tables among them, and writes to it; not the program."""
    moved = [[0, 0] for _ in plan.layers]
    for i in plan.program:
        if i.operation == Operation.WEIGHTS:
            moved[i.layer][0] += (i.fields["beats"] + 1) * plan.parameters.bus_bytes
        elif i.operation in (Operation.LOAD, Operation.STORE):
            moved[i.layer][i.operation == Operation.STORE] += (i.fields["rows"] + 1) * (i.fields["bytes"] + 1)
    return [(read, written) for read, written in moved]


def _address(plan: Plan, number: int) -> int | None:
    """Byte address of the layer's part of its output tensor, channel 0; None if it does not pass through DRAM."""
    layer = plan.layers[number]
    if layer.output not in plan.dram.maps:
        return None
    return plan.dram.maps[layer.output].address + layer.output_at * (4 if layer.raw else plan.parameters.element_bytes)


def _stored(plan: Plan, name: str) -> dict[str, Any]:
    """How a tensor's elements are stored, and its shape."""
    tensor = plan.graph.tensors[name]
    if isinstance(tensor, Sums):
        return {"element_bytes": 4, "offset": 0, "shape": tensor.shape}
    offset = storage(tensor, plan.parameters.activation_bits).offset
    return {"element_bytes": plan.parameters.element_bytes, "offset": offset, "shape": tensor.shape}


def _array(plan: Plan, name: str, shape: Shape) -> Array:
    """What the model's file has for the input or output ``name``, whose map has ``shape`` if it has nothing else."""
    array = plan.graph.arrays.get(name)
    if array is None:
        if plan.unfolding and name in plan.graph.inputs:
            shape = plan.unfolding.shape
        array = HostArray(shape[:1] if name in flat_tensors(plan.graph) else shape, ())
    steps = [dict(zip(("operator", "attributes"), onnx_operator(step), strict=True)) for step in array.steps]
    return Array(
        name=real_name(name),
        shape=array.shape,
        steps=tuple(map(Step.model_validate, steps)),
    )


def _map(plan: Plan, name: str) -> dict[str, Any]:
    """Where the network's input or output lies: ``shape`` is one image's."""
    tensor, region = plan.graph.tensors[name], plan.dram.maps[name]
    channels, rows, columns = tensor.shape
    shape = (channels, rows // plan.batch, columns)
    place = {
        "tensor": name,
        "address": region.address,
        "bytes": region.bytes,
        "images": plan.batch,
        "shape": shape,
        "layout": "NHWC",
        "array": _array(plan, name, shape),
        "host": tuple(map(str, plan.graph.arrays[name].steps)) if name in plan.graph.arrays else (),
    }
    if isinstance(tensor, Sums):
        shifts = None if tensor.shifts is None else tuple(map(float, tensor.shifts))
        scales = tuple(map(float, tensor.scales))
        return {**place, "kind": "sums", "element_bytes": 4, "offset": 0, "scales": scales, "shifts": shifts}
    form = storage(tensor, plan.parameters.activation_bits)
    return {
        **place,
        "kind": "map",
        "element_bytes": plan.parameters.element_bytes,
        "offset": form.offset,
        "scale": float(tensor.scale),
        "zero_point": tensor.zero_point,
        "low": tensor.low,
        "high": tensor.high,
    }
