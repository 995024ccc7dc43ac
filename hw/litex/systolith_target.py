"""A target of litex-boards, or one of your own, with Systolith beside its processor.

Made by `systolith package --for litex`. It was simulated with VexRiscv and LiteDRAM, and never on a board.

    python systolith_target.py lambdaconcept_ecpix5 --build
    python systolith_target.py my_target.py --build

The first word names a module of litex_boards.targets, or a file like one, with a BaseSoC and a main(); all others are
that target's own, as `--help` behind it lists them.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

try:
    from systolith_litex import SystolithError, add_systolith
except ModuleNotFoundError as error:
    sys.exit(f"systolith: error: LiteX is not installed ({error}); get it with pip install 'systolith[litex]'")

USAGE = (
    "usage: python systolith_target.py TARGET [options of that target]; TARGET is as lambdaconcept_ecpix5, or a file"
)


def load(name):
    """The module of target ``name``.  Raises SystolithError where there is none, or none that we can add to."""
    try:
        if name.endswith(".py"):
            sys.path.insert(0, str(Path(name).resolve().parent))
            module = importlib.import_module(Path(name).stem)
        else:
            module = importlib.import_module(f"litex_boards.targets.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").rpartition(".")[2] in (name, Path(name).stem, "litex_boards"):
            raise SystolithError(f"there is no target '{name}': {error}") from error
        raise SystolithError(f"target '{name}' needs the package '{error.name}', which is not installed") from error
    if missing := [what for what in ("BaseSoC", "main") if not hasattr(module, what)]:
        raise SystolithError(f"'{name}' has no {missing[0]}, so it is no target as litex-boards has them")
    return module


def add_to(module):
    """Let ``module``'s main() build its SoC with Systolith in it."""
    base: Any = module.BaseSoC

    class BaseSoC(base):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            add_systolith(self)

    module.BaseSoC = BaseSoC


def main(arguments):
    """Run a target's main() with Systolith added to its SoC.  Raises SystolithError where that cannot be."""
    if not arguments or arguments[0].startswith("-"):
        raise SystolithError(USAGE)
    module = load(arguments[0])
    add_to(module)
    sys.argv = [f"systolith_target.py {arguments[0]}", *arguments[1:]]
    module.main()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SystolithError as error:
        sys.exit(f"systolith: error: {error}")
