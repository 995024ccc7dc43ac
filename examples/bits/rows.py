"""What was measured, kept in a file, and the table of docs/bits.md that it makes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from .settings import SETTINGS, Setting

BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
QUANTIZERS = ("Systolith", "ONNX Runtime", "Brevitas")
FLOAT = "float"
TITLES = (
    "network", "setting", "float", *QUANTIZERS, "of Brevitas", "target", "met", "best", "seconds", "integers unlike",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One quantizer on one network, trained from one seed, at one setting; ``refused`` says why there is no accuracy.

    quantizer : of QUANTIZERS, or FLOAT with the setting ""
    accuracy : 0..1, of the test images;  seconds : that quantizing took
    how : the combination of methods, where the quantizer has several
    unlike : of golden's outputs, those that are not ONNX Runtime's on the same file; None where golden had no part
    """

    network: str
    seed: int
    setting: str
    quantizer: str
    accuracy: float = 0.0
    seconds: float = 0.0
    how: str = ""
    unlike: int | None = None
    refused: str = ""

    @property
    def key(self) -> tuple[str, int, str, str, str]:
        return self.network, self.seed, self.setting, self.quantizer, self.how


def load(path: Path) -> list[Row]:
    """The rows in the file ``path``, none if it is not there."""
    return [Row(**row) for row in json.loads(path.read_text())] if path.exists() else []


def save(rows: Iterable[Row], path: Path) -> None:
    half = path.with_suffix(".part")
    half.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    half.rename(path)


@dataclass(frozen=True)
class Mean:
    """One quantizer at one setting, over the seeds that were measured.  ``how``: the best combination of methods."""

    accuracy: float
    seconds: float
    how: str
    seeds: int

    def cell(self, seeds: int) -> str:
        """The accuracy, and of how many of ``seeds`` if not of all."""
        return f"{self.accuracy:.1%}" + (f" ({self.seeds} of {seeds} seeds)" if self.seeds < seeds else "")


def mean(rows: Sequence[Row]) -> Mean | None:
    """Of one quantizer's ``rows`` the mean over seeds of the combination that is best in the mean; None if none ran.

    A combination that has fewer seeds than another is not looked at.  Seconds are those of all combinations together.
    """
    ran = [row for row in rows if not row.refused]
    by_how: dict[str, list[Row]] = {}
    for row in ran:
        by_how.setdefault(row.how, []).append(row)
    if not by_how:
        return None
    seeds = max(map(len, by_how.values()))
    whole = {how: fmean(row.accuracy for row in each) for how, each in by_how.items() if len(each) == seeds}
    best = max(whole, key=lambda how: whole[how])
    return Mean(whole[best], sum(row.seconds for row in ran) / seeds, best, seeds)


def line(network: str, setting: Setting, rows: Sequence[Row]) -> tuple[str, ...]:
    """The cells of ``network`` at ``setting``, all of whose ``rows`` are given, by TITLES.

    Verdicts wait until all that is compared was measured on the seeds that float was.
    """
    exact = mean([row for row in rows if row.quantizer == FLOAT])
    here = {name: [row for row in rows if (row.quantizer, row.setting) == (name, setting.name)] for name in QUANTIZERS}
    found = {name: mean(each) for name, each in here.items()}
    if exact is None:
        return (network, setting.name, *[""] * (len(TITLES) - 2))
    target = exact.accuracy - setting.points / 100
    met = best = unlike = ""
    ours, others = found["Systolith"], [each for name, each in found.items() if name != "Systolith" and each]
    if ours is not None:
        unlike = str(sum(row.unlike or 0 for row in here["Systolith"]))
        if ours.seeds == exact.seeds:
            met = _yes(ours.accuracy >= target)
        if others and all(each.seeds == exact.seeds for each in (ours, *others)):
            best = _yes(ours.accuracy >= max(each.accuracy for each in others))
    return (
        network, setting.name, exact.cell(exact.seeds),
        *(cell_of(found[name], here[name], exact.seeds) for name in QUANTIZERS),
        found["Brevitas"].how if found["Brevitas"] else "",
        f"{target:.1%}", met, best,
        " / ".join(f"{each.seconds:.0f}" if each else "" for each in found.values()), unlike,
    )  # fmt: skip


def cell_of(found: Mean | None, rows: Sequence[Row], seeds: int) -> str:
    """An accuracy, or why there is none."""
    if found is not None:
        return found.cell(seeds)
    return rows[0].refused if rows else ""


def _yes(whether: bool) -> str:
    return "yes" if whether else "no"


def lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A line for each network and setting, networks in the order of their first rows."""
    names = dict.fromkeys(row.network for row in rows)
    return [line(name, each, [row for row in rows if row.network == name]) for name in names for each in SETTINGS]


def markdown(rows: Sequence[Row]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [TITLES, ("---",) * len(TITLES), *lines(rows)])


def write(rows: Sequence[Row], path: Path) -> None:
    """Put the table between the two marks in the page ``path``."""
    before, rest = path.read_text().split(BEGIN)
    path.write_text(f"{before}{BEGIN}{markdown(rows)}{END}{rest.split(END)[1]}")
