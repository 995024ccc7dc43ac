"""Networks of several inputs and outputs, from ONNX to simulated bytes: equal to ONNX Runtime on each."""

import numpy as np
import onnx
import pytest

from systolith import golden, quant, run_golden, sim
from systolith.data import load_data
from systolith.hw.build import generate, parameters_for
from systolith.quant.graph.ports import by_name, real_name

from . import models, npz, oracle
from .test_system import BRANCHED


def two_inputs() -> onnx.ModelProto:
    """A sum and a join of what two inputs become."""
    net = models.Builder((3, 9, 8))
    net.inputs.append(onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, ["N", 2, 9, 8]))
    one = net.conv(3, 4, 3, pads=[1] * 4).relu().current
    two = net.at("other").conv(2, 4, 3, pads=[1] * 4).current
    total = net.join("Add", one, two).relu().current
    net.join("Concat", total, two, axis=1).conv(8, 5, (3, 2))
    return net.model()


def heads() -> onnx.ModelProto:
    """Three outputs of three sizes: an inner map that is read on, a map, the sums of a fully connected layer."""
    net = models.Builder((2, 8, 8))
    inner = net.conv(2, 5, 3, pads=[1] * 4).relu().current
    coarse = net.pool().conv(5, 3, 3).current
    scores = net.at(inner).node("GlobalAveragePool").flatten().gemm(5, 4).current
    model = net.model()
    del model.graph.output[:]
    for name in (coarse, inner, scores):
        model.graph.output.add(name=name).type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model


def flat_input() -> onnx.ModelProto:
    """Fully connected layers on N x K."""
    net = models.Builder((16,))
    return net.gemm(16, 12).relu().gemm(12, 7).relu().gemm(7, 3).model()


NETWORKS = {"two inputs": two_inputs, "heads": heads, "flat input": flat_input}


def arrays(model: onnx.ModelProto, count: int, seed: int = 5) -> dict[str, np.ndarray]:
    """Seeded images for each input of ``model``."""
    random = np.random.default_rng(seed)
    sizes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim[1:]] for value in model.graph.input}
    return {name: random.normal(size=(count, *size)).astype(np.float32) for name, size in sizes.items()}


def four_axes(values: np.ndarray) -> np.ndarray:
    return values.reshape(*values.shape, *[1] * (4 - values.ndim))


@pytest.fixture(params=NETWORKS)
def network(request):
    model = NETWORKS[request.param]()
    images = {name: four_axes(values) for name, values in arrays(model, 8).items()}
    return model, quant.quantize(model, images), images


def test_every_output_is_onnxruntimes(network):
    model, graph, images = network
    file = quant.to_onnx(graph)
    assert [value.name for value in file.graph.input] == [value.name for value in model.graph.input]
    assert [value.name for value in file.graph.output] == [value.name for value in model.graph.output]
    found = golden.outputs(graph, by_name(dict(zip(graph.inputs, images.values(), strict=True)), graph.inputs))
    expected = oracle.session(file).run(None, arrays(model, 8))
    for (reals, _), right in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(reals, right)


def test_what_is_written_is_read(network):
    _, graph, _ = network
    again = quant.load(quant.to_onnx(graph))
    assert (again.inputs, again.outputs) == (graph.inputs, graph.outputs)
    assert again.tensors.keys() == graph.tensors.keys()


@pytest.mark.parametrize(
    ("bench", "name", "batch"),
    [
        pytest.param(bench, name, batch, marks=pytest.mark.xdist_group(f"{bench} {name}"))
        for bench, name, batch in (
            ("bulk", "8x8, 8-byte bus, all fits", 1),
            ("bulk", "8x8, 8-byte bus, all fits", 2),
            ("protocol", "4x4, 4-byte bus, 6 KiB", 1),
        )
    ],
)
def test_simulated_outputs_are_exact(network, bench, name, batch, tmp_path):
    _, graph, images = network
    parameters = parameters_for(graph, **BRANCHED[name])
    generate(graph, quant.to_onnx(graph).SerializeToString(), parameters, tmp_path / "build", batch=batch)
    some = {integers: images[real_name(integers)][:2] for integers in graph.inputs}
    report = sim.simulate(tmp_path / "build", some, bench=bench, seed=7)
    assert (report.bit_exact, report.images) == (True, 2)


def test_files_name_what_each_input_reads(tmp_path):
    model = two_inputs()
    data = arrays(model, 3)
    np.savez(tmp_path / "data.npz", y=np.arange(3), **data)
    graph = quant.quantize(model, data)
    ran = run_golden(graph, tmp_path / "data.npz", tmp_path / "out.npz")
    assert np.array_equal(ran.y, run_golden(graph, data).y)
    assert sorted(npz.read(tmp_path / "out.npz")) == ["y", "y_q"]
    several = run_golden(quant.quantize(heads(), arrays(heads(), 3)["image"]), arrays(heads(), 3), tmp_path / "out.npz")
    assert list(npz.read(tmp_path / "out.npz")) == list(several.arrays)
    assert len(several.arrays) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image": 3}, "the network reads 'image', 'other', but there are arrays for 'image'"),
        ({"image": 3, "other": 2}, "the numbers of images differ: 3 for 'image', 2 for 'other'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(given, message):
    images = {name: np.zeros((count, 2, 3), np.float32) for name, count in given.items()}
    with pytest.raises(quant.DataError) as caught:
        load_data(images, names=("image", "other"))
    assert str(caught.value) == message


def test_one_array_for_two_inputs_is_refused():
    with pytest.raises(quant.DataError) as caught:
        quant.quantize(two_inputs(), np.zeros((1, 3, 9, 8), np.float32))
    assert str(caught.value) == "the network reads 'image', 'other'; give an array for each, by name"
