"""The folders import each other in one direction only, and no import goes in a circle."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

QUANT = {
    "quant.graph": set(),
    "quant.files": {"quant.graph"},
    "quant.networks": {"quant.graph"},
    "quant.onnx": {"quant.graph", "quant.files", "quant.networks"},
    "quant.arithmetic": {"quant.graph", "quant.networks"},
    "quant.posttraining": {"quant.graph", "quant.networks", "quant.onnx", "quant.arithmetic"},
    "quant.qdq": {"quant.graph", "quant.files", "quant.networks", "quant.onnx", "quant.arithmetic"},
}
HOST = {"systolith.host": {"quant.graph"}}
"""The driver: a board that it is installed on has numpy alone, and so the graph's steps and errors alone."""
HW = {
    "hw.isa": {"quant.graph"},
    "hw.engine": {"quant.graph", "hw.isa"},
    "hw.compiler": {"quant.graph", "hw.isa"},
    "hw.model": {"hw.isa", "hw.engine", "hw.compiler"},
    # what stands beside the accelerator on a board: it is joined to its buses, and knows nothing of programs
    "hw.board": {"quant.graph", "hw.isa", "hw.engine"},
}
SIM = {
    "sim.comparison": {"quant.graph"},
    "sim.benches": {"quant.graph", "sim.comparison"},
}
ALLOWED: dict[str, set[str]] = {
    **QUANT,
    "quant": set(QUANT),
    "golden": {"quant.graph"},
    **HOST,
    **HW,
    "hw": {*HW, "quant.graph", "quant.files"},
    "hw.litex": set(),
    "hw.vendors": {*HW, "quant.graph", "quant.files", "hw", "hw.litex"},
    "hw.bitstream": {*HW, "quant.graph", "quant.files", "hw"},
    **SIM,
    "sim": {*SIM, *HW, "quant", *QUANT, "golden", "hw"},
    "systolith.report": {"quant", *QUANT, "golden", "hw", "sim", "systolith"},
    "systolith.commands": {
        *("quant", *QUANT, "golden", "hw", *HW, "hw.vendors", "hw.bitstream", "sim"),
        *("systolith.report", "systolith", *HOST),
    },
}
"""The folders that each folder's files may import, besides its own.  A folder without a dot: files right in it."""

TOP = {"quant", "golden", "hw", "sim", "systolith"}
SELF = {folder: {folder} for folder in ALLOWED}


def modules() -> dict[str, Path]:
    """Every module of the packages by its name without ``systolith.`` (but for the package of this name itself)."""
    found = {}
    for top in sorted(TOP):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def folder_of(module: str) -> str:
    """The longest known folder that ``module`` lies in: itself, if it is one."""
    parts = module.split(".")
    return next((f for n in range(len(parts), 0, -1) if (f := ".".join(parts[:n])) in ALLOWED), parts[0])


def imported(tree: ast.AST, module: str, package: bool) -> set[str]:
    """Our modules that ``module`` imports, in whatever spelling; imports for type checking count."""
    found = set()
    inside = module.split(".") if package else module.split(".")[:-1]
    if inside[:1] != ["systolith"]:
        inside = ["systolith", *inside]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = [] if not node.level else inside[: len(inside) - node.level + 1]
            base = ".".join([*start, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            ours = re.sub(r"^systolith\.(?=(quant|golden|hw|sim)\b)", "", name)
            if ours.split(".")[0] not in TOP:
                continue
            while ours not in MODULES and "." in ours:
                ours = ours.rpartition(".")[0]
            found.add(ours)
    return found - {module}


IMPORTS = {
    name: imported(ast.parse(path.read_text()), name, path.name == "__init__.py") for name, path in MODULES.items()
}


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_only_what_it_may(folder):
    files = [name for name in MODULES if folder_of(name) == folder]
    assert files
    for name in files:
        found = {folder_of(other) for other in IMPORTS[name]} - {folder}
        assert found <= ALLOWED[folder], f"{MODULES[name].relative_to(ROOT)} imports {sorted(found - ALLOWED[folder])}"


def test_every_folder_is_in_the_picture():
    folders = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in MODULES.values()}
    assert folders - set(ALLOWED) == {"systolith", "sim.verilog"} & folders


def circle(imports: dict[str, set[str]]) -> list[str]:
    """A circle among ``imports``, empty if there is none.  That a package's front names its parts is none."""
    fronts = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    try:
        list(TopologicalSorter({name: found - fronts for name, found in imports.items()}).static_order())
    except CycleError as error:
        return error.args[1]
    return []


def test_no_import_goes_in_a_circle():
    assert circle(IMPORTS) == []


def test_a_circle_is_seen():
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


@pytest.mark.parametrize(
    "line",
    [
        "from ...golden import run",
        "from ... import golden",
        "from ...golden.conv import convolve",
        "import systolith.golden.conv",
        "from systolith import golden",
        "from systolith.golden import run",
        "import golden",
        "from golden.conv import convolve",
        "if TYPE_CHECKING:\n    from ...golden import run",
    ],
)
def test_every_spelling_of_an_import_is_seen(line):
    found = imported(ast.parse(line), "hw.compiler.plan", False)
    assert {folder_of(name) for name in found} == {"golden"}


def test_no_module_needs_a_posix_system_to_be_imported():
    for name, path in MODULES.items():
        lines = path.read_text().splitlines()
        found = [line for line in lines if re.match(r"\s*(import|from) (fcntl|grp|pwd|resource|termios)\b", line)]
        assert found == [], name


def test_the_oracle_is_not_needed_at_run_time():
    for name, path in MODULES.items():
        assert "import onnxruntime" not in path.read_text(), name
