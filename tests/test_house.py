"""Files and circuits stay of a size that a person reads in one sitting."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for top in ("quant", "golden", "hw", "sim", "systolith")
    for path in sorted((ROOT / top).rglob("*.py"))
}
LINES = 400
"""Of a file, unless a line of its docstring begins with REASON."""

REASON = "Longer than 400 lines: "
FUNCTION_LINES = 100
"""Of a function in hw/engine, its docstring and the functions inside it among them."""


def too_long(text: str) -> bool:
    """Whether a file is longer than it may be."""
    reasons = [line for line in (ast.get_docstring(ast.parse(text)) or "").splitlines() if line.startswith(REASON)]
    return len(text.splitlines()) > LINES and not any(line.removeprefix(REASON).strip() for line in reasons)


def long_functions(text: str) -> dict[str, int]:
    """Functions of more than FUNCTION_LINES lines, methods and nested ones too, and how many they have."""
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}
    return {name: length for name, length in lengths.items() if length > FUNCTION_LINES}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_in_one_sitting(name):
    assert not too_long(FILES[name]), f"{name} has {len(FILES[name].splitlines())} lines, more than {LINES}"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("hw/engine/")])
def test_a_circuit_is_told_in_verbs(name):
    assert long_functions(FILES[name]) == {}


def test_what_is_too_long_is_seen():
    code = "a = 1\n" * LINES
    assert not too_long(code)
    assert too_long(code + "a = 1\n")
    assert too_long(f'"""One line.\n{REASON}\n"""\n{code}'), "a reason that says nothing"
    assert not too_long(f'"""One line.\n\n{REASON}one table.\n"""\n{code}')
    body = "        a = 1\n" * FUNCTION_LINES
    assert long_functions(f"class C:\n    def f(self):\n{body}") == {"f": FUNCTION_LINES + 1}
    assert long_functions(f"class C:\n    def f(self):\n{body[: -len('        a = 1' + chr(10))]}") == {}
