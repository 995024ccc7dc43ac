"""examples/digits/digits.ipynb, executed: each cell ran, what it prints is right, and it ends in a picture."""

import re
from base64 import b64decode

import nbformat
import pytest
from nbclient import NotebookClient

from systolith import golden
from systolith.hw.board.board import Board
from systolith.sim import accelerator as accelerators
from systolith.sim.simulation import predicted_cycles

from . import npz
from .lenet import FOLDER, lenet5
from .test_host_board import SIZES

NOTEBOOK = FOLDER.parent / "digits" / "digits.ipynb"
PNG = b"\x89PNG\r\n\x1a\n"
FEW = 3
LEFT_OUT = "place and route was left out (PLACE_AND_ROUTE is False): no bitstream was made"


def executed(folder, monkeypatch, **changed):
    """The notebook after it ran in this environment's Python, with ``changed`` behind its cell of parameters."""
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(folder / name))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (at,) = (n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    lines = [f"OUTPUT = Path({str(folder / 'out')!r})", *(f"{name} = {value!r}" for name, value in changed.items())]
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    return NotebookClient(notebook, timeout=None, kernel_name="python3", resources=resources).execute()


def printed(notebook):
    """What all cells printed, none of it to stderr."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    texts = [output.text for output in outputs if output.output_type == "stream"]
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    return "".join(texts)


def assert_it_is_right(notebook, folder, digits):
    """What a reader is told, each figure by another way than the notebook's."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    picture = b64decode(code[-1].outputs[-1].data["image/png"])
    assert picture.startswith(PNG)
    assert len(picture) > 3000
    said = printed(notebook)
    graph, images = lenet5("float", effort="default")
    labels = npz.read(FOLDER / "test.npz")["y"]
    right = golden.output(graph, images)[0].argmax(axis=1)
    assert f"golden: {(right == labels).mean():.2%} of 1,000 digits right\n" in said
    assert "\ncan be built: True\n" in said
    assert "\nequal to golden, bit for bit: True\n" in said
    assert f"\nclasses: {' '.join(map(str, right[:digits]))}\n" in said
    assert f"\nlabels:  {' '.join(map(str, labels[:digits]))}\n" in said
    assert "every byte equals golden's: True\n" in said
    cycles = [[int(number.replace(",", "")) for number in line] for line in CYCLES.findall(said)]
    (simulated, predicted), (measured, forecast) = cycles
    source = accelerators.load(folder / "out" / "lenet5")
    assert (simulated, forecast) == (predicted, predicted)
    assert measured == pytest.approx(predicted_cycles(source, source.graph, Board.LATENCY), rel=0.001)
    assert f"{source.memory_bytes:,} bytes of memory behind the bus\n" in said
    return said


CYCLES = re.compile(r"([\d,]+) cycles an image, ([\d,]+) predicted")


@pytest.mark.xdist_group("simulated board")
def test_the_notebook_classifies_digits(tmp_path, monkeypatch):
    """On the accelerator of tests/test_host_board.py, whose board is compiled once, and without place and route."""
    sizes = {name: value for name, value in SIZES.items() if name not in ("rows", "columns")}
    notebook = executed(tmp_path, monkeypatch, SIZES=sizes, PLACE_AND_ROUTE=False, DIGITS=FEW)
    said = assert_it_is_right(notebook, tmp_path, FEW)
    assert said.count(LEFT_OUT) == 1
    assert not (tmp_path / "out" / "lenet5-ulx3s").exists()


@pytest.mark.boards
def test_the_notebook_as_it_is(tmp_path, monkeypatch):
    """With its bitstream."""
    said = assert_it_is_right(executed(tmp_path, monkeypatch), tmp_path, 10)
    assert LEFT_OUT not in said
    assert (tmp_path / "out" / "lenet5-ulx3s" / "systolith.bit").stat().st_size > 100_000


def test_the_notebook_is_kept_without_outputs():
    """So nothing in it can be older than the sources."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)
