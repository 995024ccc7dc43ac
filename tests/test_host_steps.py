"""What the host does before an input and behind an output: in the file, in golden, in a build, and what is refused."""

import dataclasses
import json

import numpy as np
import onnx
import pytest

from systolith import generate_build, golden, quant, quantize_model, run_golden, simulate_build
from systolith.commands.golden import load_images
from systolith.host.build import Build
from systolith.hw.compiler.planner import plan
from systolith.hw.compiler.unfold import unfold
from systolith.noise import run_both
from systolith.quant.graph.host import ArgMax, HostArray, Reshape, Softmax, Transpose
from systolith.sim import accelerator as accelerators

from . import models, oracle
from .hw_networks import execute, memory_of
from .report_builds import cells, measured, page_of, section

CHANNELS_FIRST = {"perm": [0, 3, 1, 2]}
CHANNELS_LAST = {"perm": [0, 2, 3, 1]}


def scores() -> models.Builder:
    return models.Builder((2, 6, 6)).conv(2, 4, 3).relu().flatten().gemm(64, 5)


def many_zeros() -> models.Builder:
    """Maps whose channels often share the largest value, 0."""
    net = models.Builder((3, 7, 6)).conv(3, 4, 3)
    return net.node("Sub", np.float32(1)).relu()


def channels_last() -> models.Builder:
    net = models.Builder((7, 6, 3)).node("Transpose", **CHANNELS_FIRST).conv(3, 4, 3)
    return net.node("Transpose", **CHANNELS_LAST)


def transposed_classes() -> models.Builder:
    """Classes in another order than the map has them."""
    return models.Builder((3, 4, 5)).conv(3, 4, 3).node("Transpose", **CHANNELS_LAST).flatten()


def picture_to_class() -> models.Builder:
    """Channels last at the input, an ArgMax at the end, and its axis gone."""
    net = models.Builder((6, 6, 2)).node("Transpose", **CHANNELS_FIRST).conv(2, 4, 3).relu().flatten().gemm(64, 5)
    return net.node("ArgMax", axis=1, keepdims=0)


def quantized(model: onnx.ModelProto, images: np.ndarray) -> quant.Graph:
    return quantize_model(model, images, range_method="minmax").graph


FROM_NHWC = (Transpose((0, 3, 1, 2)),)
TO_NHWC = Transpose((0, 2, 3, 1))

# The network, what the host does before it and behind it, and the shape of the output without the batch.
CASES = {
    "channels last": (channels_last, FROM_NHWC, (TO_NHWC,), (5, 4, 4)),
    "softmax": (lambda: scores().node("Softmax"), (), (Reshape((5,)), Softmax(1)), (5,)),
    "softmax of pixels": (lambda: many_zeros().node("Softmax", axis=1), (), (Softmax(1),), (4, 5, 4)),
    "log softmax of columns": (lambda: many_zeros().node("LogSoftmax"), (), (Softmax(3, log=True),), (4, 5, 4)),
    "arg max": (picture_to_class, FROM_NHWC, (Reshape((5,)), ArgMax(1, keep_axis=False)), ()),
    "arg max of pixels": (lambda: many_zeros().node("ArgMax", axis=1), (), (ArgMax(1),), (1, 5, 4)),
    "the last arg max": (
        lambda: many_zeros().node("ArgMax", axis=-1, keepdims=0, select_last_index=1),
        (),
        (ArgMax(3, keep_axis=False, last=True),),
        (4, 5),
    ),
    "transposed classes": (transposed_classes, (), (TO_NHWC, Reshape((24,))), (24,)),
    "reshape": (lambda: many_zeros().node("Reshape", np.array([0, 2, -1])), (), (Reshape((2, 40)),), (2, 40)),
    "several": (
        lambda: many_zeros().node("Softmax", axis=1).node("Transpose", **CHANNELS_LAST).node("ArgMax", axis=2),
        (),
        (Softmax(1), TO_NHWC, ArgMax(2)),
        (5, 1, 4),
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    make, before, behind, shape = CASES[request.param]
    model = make().model()
    images = models.images(model, 30)
    return model, images, quantized(model, images), before, behind, shape


def test_golden_and_the_file_do_the_hosts_steps(case):
    model, images, graph, before, behind, shape = case
    arrays = {name: array.steps for name, array in graph.arrays.items()}
    assert (arrays.get(graph.input, ()), arrays[graph.output]) == (before, behind)
    file = quant.to_onnx(graph)
    found, expected = run_golden(graph, images).y, oracle.run(file, images)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.shape == (30, *shape) == oracle.run(model, images).shape
    oracle.assert_same_output(graph, found, expected)
    again = quant.load(file)
    assert again.arrays == graph.arrays
    np.testing.assert_array_equal(run_golden(again, images).y, found)


def test_equal_values_are_told_apart_by_their_place():
    """Otherwise the two kinds of ArgMax would be one to the test above."""
    images = models.images(many_zeros().model(), 30)
    first, last = (
        run_golden(quantized(model, images), images).y
        for model in (many_zeros().node("ArgMax", axis=1, select_last_index=last).model() for last in (0, 1))
    )
    assert (first < last).any()
    assert not (first > last).any()


@pytest.mark.parametrize("make", [transposed_classes, picture_to_class, lambda: scores().node("Softmax")])
def test_accuracy_is_that_of_the_models_classes(make):
    model = make().model()
    images = models.images(model, 40)
    graph = quantized(model, images)
    labels, in_float = (
        answers if answers.ndim == 1 else answers.argmax(axis=1)
        for answers in (oracle.run(file, images) for file in (quant.to_onnx(graph), model))
    )
    assert len(set(labels)) > 2
    both = run_both(graph, quant.load_float(model), load_images(graph, images)[1], lambda done, total: None)
    assert both.guesses.tolist() == in_float.tolist()
    assert both.agreeing == np.sum(labels == in_float)
    assert run_golden(graph, (images, labels)).accuracy == 1
    labels[:10] = (labels[:10] + 1) % 5
    assert run_golden(graph, (images, labels)).accuracy == 0.75


PORTS = ["[63:0] m_axi_rdata", *(f"[7:0] monitor_{name}" for name in ("valid", "address", "count", "data"))]


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build of ``picture_to_class`` but for its Verilog, which nobody runs; its float model, and 24 images.

    18 of them have the label that they get.
    """
    folder = tmp_path_factory.mktemp("host")
    model = picture_to_class().model()
    images = models.images(model, 24)
    onnx.save(model, folder / "float.onnx")
    quant.save(quantized(model, images), folder / "q.onnx")
    labels = oracle.run(onnx.load(folder / "q.onnx"), images)
    labels[:6] = (labels[:6] + 1) % 5
    np.savez(folder / "data.npz", x=images, y=labels)
    verilog = f"module systolith({', '.join(f'input wire {port}' for port in PORTS)});\nendmodule\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("systolith.hw.build.emit_verilog", lambda *_, **__: verilog)
        generate_build(folder / "q.onnx", folder / "build", rows=4, columns=4, unfold_input=True)
    return folder / "build"


def test_the_manifest_and_the_header_name_the_hosts_steps(build):
    manifest = json.loads((build / "manifest.json").read_text())
    assert [port["host"] for port in manifest["inputs"]] == [["Transpose by 0, 3, 1, 2"]]
    assert [port["host"] for port in manifest["outputs"]] == [["Reshape to Nx5", "ArgMax along axis 1"]]
    said = [line for line in (build / "systolith.h").read_text().splitlines() if "left to the host" in line]
    assert said == [
        "/* INPUT: left to the host before it: Transpose by 0, 3, 1, 2 */",
        "/* OUTPUT: left to the host behind it: Reshape to Nx5, ArgMax along axis 1 */",
    ]


def test_an_input_is_arranged_before_it_is_unfolded(build):
    """Channels last in the model, the rows of the windows side by side for the accelerator."""
    with np.load(build.parent / "data.npz") as file:
        images = file["x"][:2]
    graph, (port,) = quant.load(build / "model.onnx"), Build.load(build).inputs
    made = plan(graph, accelerators.load(build).manifest.parameters, unfold_input=True)
    arranged = port.quantized(port.checked(images, arranged=False), arranged=False)
    np.testing.assert_array_equal(arranged, golden.quantize_input(graph, images.transpose(0, 3, 1, 2)))
    beside = unfold(arranged, made.unfolding)
    assert port.encoded(arranged[1:]) == memory_of(beside[1], graph.map_of(graph.input), 8).tobytes()
    region, machine = made.dram.maps[graph.output], execute(made, beside[1])
    expected = memory_of(golden.run(graph, arranged)[graph.output][1], graph.tensors[graph.output], 8)
    np.testing.assert_array_equal(machine.dram[region.address : region.address + region.bytes], expected)


def test_a_confusion_matrix_is_that_of_the_models_classes(build):
    with np.load(build.parent / "data.npz") as file:
        data = dict(file)
    answers = oracle.run(onnx.load(build / "model.onnx"), data["x"])
    _, tree = page_of(build, inputs=build.parent / "data.npz", float_model=build.parent / "float.onnx")
    found = [[int(count or 0) for count in row[1:]] for row in cells(section(tree, "confusion"))]
    expected = np.zeros((5, 5), int)
    np.add.at(expected, (data["y"], answers), 1)
    assert found == expected.tolist()
    in_float = oracle.run(onnx.load(build.parent / "float.onnx"), data["x"])
    said = f"75.0%accuracy in integers; {np.mean(in_float == data['y']):.1%} in float, on the same 24 images"
    assert said in " ".join("".join(section(tree, "summary").itertext()).split())


def test_a_simulation_reads_a_build_once_and_knows_the_models_classes(build, monkeypatch):
    read = []
    for module, function in ((accelerators, "load"), (quant, "load")):
        real = getattr(module, function)
        monkeypatch.setattr(module, function, lambda path, real=real: (read.append(path), real(path))[1])
    monkeypatch.setattr("systolith.sim.simulation.simulate_tensors", lambda source, *_, **__: measured(source))
    report = simulate_build(build, build.parent / "data.npz")
    assert report.accuracy == 0.75
    assert read == [build, build / "model.onnx"]


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("relu1_out_quantized", HostArray((4, 4, 4), ()), "the graph says how '{}' lies in the model's file, but it is"
         " no input or output"),
        ("gemm1_out", HostArray((5, 1, 1), (Softmax(4),)), "'{}': Softmax along axis 4 does not fit an array of"
         " 1x5x1x1, whose images must stay apart"),
        ("gemm1_out", HostArray((5, 1, 1), (Softmax(0, log=True),)), "'{}': LogSoftmax along axis 0 does not fit an"
         " array of 1x5x1x1, whose images must stay apart"),
        ("gemm1_out", HostArray((5, 1, 1), (ArgMax(0),)), "'{}': ArgMax along axis 0 does not fit an array of 1x5x1x1,"
         " whose images must stay apart"),
        ("gemm1_out", HostArray((5,), (Reshape((5,)), ArgMax(2))), "'{}': ArgMax along axis 2 does not fit an array of"
         " 1x5, whose images must stay apart"),
        ("gemm1_out", HostArray((6,), (Reshape((6,)),)), "'{}': Reshape to Nx6 does not fit an array of 1x5x1x1, whose"
         " images must stay apart"),
        ("gemm1_out", HostArray((5, 1, 1), (Transpose((1, 0, 2, 3)),)), "'{}': Transpose by 1, 0, 2, 3 does not fit an"
         " array of 1x5x1x1, whose images must stay apart"),
        ("gemm1_out", HostArray((1, 5, 1), (Transpose((0, 2, 1)),)), "'{}': Transpose by 0, 2, 1 does not fit an array"
         " of 1x5x1x1, whose images must stay apart"),
        ("gemm1_out", HostArray((4,), (Reshape((5,)),)), "'{}': the host's steps make (5,) of it, not (4,)"),
        ("image_quantized", HostArray((6, 6, 3), FROM_NHWC), "'{}': the host's steps make (3, 6, 6) of it, not"
         " (2, 6, 6)"),
        ("image_quantized", HostArray((2, 6, 6), (Softmax(1),)), "'{}': the host arranges an input, and computes"
         " nothing"),
    ],
)  # fmt: skip
def test_arrays_that_no_host_makes_are_refused(name, array, message):
    model = scores().model()
    graph = quantized(model, models.images(model, 3))
    with pytest.raises(quant.GraphError) as caught:
        quant.check(dataclasses.replace(graph, arrays={name: array}))
    assert str(caught.value) == message.format(name)


@pytest.mark.parametrize("relu", [False, True])
def test_two_outputs_of_one_tensor(relu):
    """Both are in the file under their names, each as the model has it."""
    net = models.Builder((3, 6, 6)).conv(3, 4, 3)
    net = net.relu() if relu else net
    shown = net.current
    model = net.node("Transpose", **CHANNELS_LAST).model()
    model.graph.output.add(name=shown).type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    images = models.images(model, 3)
    graph = quantized(model, images)
    assert [layer.operator for layer in graph.layers] == ["Conv", "Selection"]
    written = quant.to_onnx(graph)
    names = [output.name for output in written.graph.output]
    back = quant.load(written)
    results = golden.outputs(back, dict.fromkeys(back.inputs, images))
    found = {name: reals for name, (reals, _) in zip(names, results.values(), strict=True)}
    for level in oracle.LEVELS:
        for name, expected in zip(names, oracle.session(written, level).run(None, {"image": images}), strict=True):
            np.testing.assert_array_equal(found[name], expected)
    assert found["transpose1_out"].shape == (3, 4, 4, 4)
    np.testing.assert_array_equal(found[shown].transpose(0, 2, 3, 1), found["transpose1_out"])


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "ArgMax"])
def test_what_the_host_computes_is_refused_inside(operator):
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(models.Builder((3, 8, 8)).conv(3, 4, 3).node(operator, axis=1).conv(4, 2, 1).model())
    assert str(caught.value) == (
        "node 'conv2' (Conv): reads what is left to the host, ArgMax, LogSoftmax, Softmax at the end; end the model"
        " before it, and let the program that calls the accelerator do the rest"
    )
