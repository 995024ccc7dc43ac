"""``python -m tests.fuzz FOLDER [--seconds S | --files N] [--seed S] [--first N]``: mutated models, float, quantized.

Each file is read and computed by a process of 2 GB of address space, in 20 seconds of its time, which is started again
when it dies.  ``--files 1 --first N --seed S`` makes file N again.  Files that fail are kept in FOLDER.
The exit status is 0 only if every file was either refused by an error of Systolith's or went through.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from .corpus import float_models, quantized_models
from .trial import template, write
from .worker import Worker


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--files", type=int, help="instead of --seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    corpus = {"float": float_models(), "quantized": quantized_models()}
    counts: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    slowest = 0.0, ""
    worker = Worker()
    end, number = time.monotonic() + arguments.seconds, arguments.first
    while number < arguments.first + arguments.files if arguments.files else time.monotonic() < end:
        path = write(corpus, number, arguments.seed, arguments.folder)
        start = time.monotonic()
        outcome = worker.run(path)
        slowest = max(slowest, (time.monotonic() - start, path.name))
        counts[outcome.kind] += 1
        if outcome.kind == "refused":
            refusals[template(outcome.said)] += 1
        if outcome.failed:
            print(f"{path}: {outcome.kind}\n{outcome.said}", flush=True)
        else:
            path.unlink()
        path.with_suffix(".q").unlink(missing_ok=True)
        number += 1
    worker.stop()
    print("\n".join(f"{count:7}  {text}" for text, count in refusals.most_common()))
    kinds = ("accepted", "refused", "exception", "over memory", "over time", "died")
    print(f"{number - arguments.first} files from {arguments.first}, seed {arguments.seed}")
    print(f"the slowest, {slowest[1]}, took {slowest[0]:.1f} s")
    print(", ".join(f"{kind} {counts[kind]}" for kind in kinds))
    return 0 if counts.keys() <= {"accepted", "refused"} else 1


if __name__ == "__main__":
    sys.exit(main())
