"""The packages import each other in one direction only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {"quant": set(), "golden": {"quant"}, "hw": {"quant"}, "sim": {"quant", "golden", "hw"}}


def imported_packages(tree: ast.AST, package: str) -> set[str]:
    """Our packages that a module directly inside ``package`` imports, in whatever spelling."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ["", f"systolith.{package}.", "systolith."][node.level] + (node.module or "")
            names = [start, *(f"{start.rstrip('.')}.{alias.name}" for alias in node.names)]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {part[1] for part in parts if part[0] == "systolith" and len(part) > 1 and part[1] in ALLOWED}
        found |= {part[0] for part in parts if part[0] in ALLOWED}
    return found - {package}


@pytest.mark.parametrize("package", ALLOWED)
def test_package_imports_only_what_it_may(package):
    files = sorted((ROOT / package).glob("**/*.py"))
    assert files
    for path in files:
        found = imported_packages(ast.parse(path.read_text()), package)
        assert found <= ALLOWED[package], f"{path.relative_to(ROOT)} imports {sorted(found - ALLOWED[package])}"


@pytest.mark.parametrize(
    "line",
    [
        "from ..golden import run",
        "from .. import golden",
        "from ..golden.conv import convolve",
        "import systolith.golden.conv",
        "from systolith import golden",
        "from systolith.golden import run",
        "import golden",
        "from golden.conv import convolve",
    ],
)
def test_every_spelling_of_an_import_is_seen(line):
    assert imported_packages(ast.parse(line), "hw") == {"golden"}


def test_the_oracle_is_not_needed_at_run_time():
    for package in ALLOWED:
        for path in (ROOT / package).glob("**/*.py"):
            assert "import onnxruntime" not in path.read_text(), path
