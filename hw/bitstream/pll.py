"""The ECP5's PLL: dividers that make a clock of the crystal's, within the limits of the part."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from ...quant.graph.errors import ConfigurationError

# Lattice FPGA-DS-02012, ECP5 and ECP5-5G family data sheet, "sysCLOCK PLL timing"; the lowest output and the dividers
# are Project Trellis' (ecppll) and Lattice's FPGA libraries reference guide, EHXPLLL, where those are tighter.
INPUT: Final = (10, 400)
"""MHz, as the next three; from 8 on it locks, but the phase detector wants 10."""
COMPARED: Final = (10, 400)
VCO: Final = (400, 800)
OUTPUT: Final = (10, 400)
DIVIDER: Final = (1, 128)
FEEDBACK: Final = (1, 80)


@dataclass(frozen=True)
class Pll:
    """Dividers of an EHXPLLL whose CLKOP is fed back and whose CLKOS is the clock.

    The phase detector compares crystal / input with CLKOP / feedback; CLKOP is VCO / fed, CLKOS VCO / output.
    """

    crystal: Fraction
    input: int
    feedback: int
    fed: int
    output: int

    @property
    def compared(self) -> Fraction:
        """MHz at the phase detector."""
        return self.crystal / self.input

    @property
    def vco(self) -> Fraction:
        """MHz."""
        return self.compared * self.feedback * self.fed

    @property
    def clock(self) -> Fraction:
        """MHz of CLKOS."""
        return self.vco / self.output


def pll(crystal: float, clock: float) -> Pll:
    """The PLL whose clock is the highest that is not above ``clock``; both in MHz.

    Of those that make it the one that compares at the highest frequency, then that with the fastest VCO: least jitter.
    Raises ConfigurationError if crystal or clock is outside what a PLL takes or makes.
    """
    if not INPUT[0] <= crystal <= INPUT[1]:
        raise ConfigurationError(f"the crystal must have {INPUT[0]} to {INPUT[1]} MHz, not {crystal:g}")
    if not OUTPUT[0] <= clock <= OUTPUT[1]:
        raise ConfigurationError(f"the clock must be {OUTPUT[0]} to {OUTPUT[1]} MHz, not {clock:g}")
    given, wanted = Fraction(str(crystal)), Fraction(str(clock))
    choices = []
    for divided in range(DIVIDER[0], DIVIDER[1] + 1):
        compared = given / divided
        if not COMPARED[0] <= compared <= COMPARED[1]:
            continue
        for feedback in range(FEEDBACK[0], FEEDBACK[1] + 1):
            fed_back = compared * feedback
            if not OUTPUT[0] <= fed_back <= OUTPUT[1]:
                continue
            for fed in range(max(DIVIDER[0], -(-VCO[0] // fed_back)), min(DIVIDER[1], VCO[1] // fed_back) + 1):
                output = -(-fed_back * fed // wanted)
                if output <= DIVIDER[1] and fed_back * fed >= OUTPUT[0] * output:
                    choices.append(Pll(given, divided, feedback, fed, int(output)))
    if not choices:
        raise ConfigurationError(f"no PLL makes {clock:g} MHz, or a little less, of {crystal:g} MHz")
    return max(choices, key=lambda made: (made.clock, made.compared, made.vco, -made.feedback))
