"""What `make bench-fpga` rests on: the chip around the engine, the fault, the fit, what it says without its tools."""

import json
import re
import sys

import pytest

from examples.fpga import fit, netlist, route, synthesis, timing
from examples.fpga.chip import around
from systolith import SystolithError
from systolith.hw.area import sizes
from systolith.hw.engine.emit import emit_verilog
from systolith.hw.isa.parameters import Parameters
from systolith.sim.accelerator import module_ports

SMALL = {"rows": 2, "columns": 4, "activation_kib": 1, "accumulator_kib": 1, "weight_fifo_kib": 1}


@pytest.fixture(scope="module")
def verilog():
    return emit_verilog(Parameters(**SMALL))


def test_the_chip_gives_every_port_bits_of_its_own(verilog):
    wired = re.findall(r"\.(\w+)\((taken|engine)\[(\d+):(\d+)\]\)", around(verilog))
    ports = {
        name: width for name, width in module_ports(verilog, "systolith").items() if not name.startswith("monitor")
    }
    assert {name: int(high) - int(low) + 1 for name, _, high, low in wired} == {
        name: width for name, width in ports.items() if name not in ("clk", "rst")
    }
    for chain in ("taken", "engine"):
        bits = [bit for _, of, high, low in wired if of == chain for bit in range(int(low), int(high) + 1)]
        assert bits == list(range(len(bits)))


def test_the_fault_is_in_one_place(verilog):
    broken = netlist.with_fault(verilog)
    changed = [pair for pair in zip(verilog.splitlines(), broken.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1
    with pytest.raises(SystolithError, match=r"^the fault was meant for one place of the Verilog, not 0$"):
        netlist.with_fault("module systolith();\nendmodule\n")


def test_cells_belong_to_parts_by_their_names(verilog):
    names = {
        "taken_TRELLIS_FF_Q": None,
        "dut.engine.array.sum_0_0_TRELLIS_FF_Q": "array",
        "dut.engine.vector.lane_0.requantize.x": "lanes",
        "dut.engine.vector.best_0": "vector",
        "dut.engine.fetch.x": "control",
        "dut.engine.control_1": "control",
        "dut.registers.array": "control",
        "dut": "control",  # yosys keeps a cell that stands for the module
    }
    assert {name: fit.part_of(name.split(".")) for name in names} == names
    # and these are the names that the source has
    for unit in (*fit.PARTS, "vector.lane_0", "vector.lane_0.requantize", "fetch"):
        assert f"module \\systolith.engine.{unit} (" in verilog, unit


def test_a_netlist_without_names_is_refused(tmp_path):
    netlist = tmp_path / "netlist.json"
    cells = {f"dut.engine.array.{n}": {"type": "TRELLIS_FF"} for n in range(3)}
    parameters = Parameters(rows=4, columns=4, target="ecp5")
    netlist.write_text(json.dumps({"modules": {"chip": {"cells": cells}}}))
    assert fit.measure(parameters, netlist).registers == {"array": 3}
    cells |= {f"$auto${n}": {"type": "TRELLIS_FF"} for n in range(4)}
    netlist.write_text(json.dumps({"modules": {"chip": {"cells": cells}}}))
    message = f"cells have no names in {netlist}: yosys only came to its end without"
    with pytest.raises(SystolithError, match=f"^{re.escape(message)}$"):
        fit.measure(parameters, netlist)


SDF = """\
    (INSTANCE )
        (INTERCONNECT a_TRELLIS_FF_Q_1/Q sum\\$COMB0/A (1000:1100:1200) (1000:1100:1200))
        (INTERCONNECT a_TRELLIS_FF_Q_2/Q sum\\$COMB0/B (0:0:0) (0:0:0))
        (INTERCONNECT sum\\$COMB0/FCO sum\\$COMB1/FCI (0:0:0) (0:0:0))
        (INTERCONNECT sum\\$COMB1/F b_TRELLIS_FF_Q/DI (100:100:100) (100:150:200))
        (INTERCONNECT bank_0.0.1/DOA3 b_TRELLIS_FF_Q_3/M (10:20:30) (10:20:30))
        (INTERCONNECT a_TRELLIS_FF_Q_2/Q c_TRELLIS_FF_Q/DI (9:9:9) (9:9:9))
        (INTERCONNECT load/O c_TRELLIS_FF_Q/CE (90000:90000:90000) (90000:90000:90000))
    (INSTANCE a_TRELLIS_FF_Q_1)
        (IOPATH CLK Q (430:477:525) (430:477:525))
    (INSTANCE a_TRELLIS_FF_Q_2)
        (IOPATH CLK Q (430:477:525) (430:477:525))
    (INSTANCE sum\\$COMB0)
        (IOPATH A FCO (400:420:440) (400:420:440))
        (IOPATH B FCO (400:420:450) (400:420:450))
    (INSTANCE sum\\$COMB1)
        (IOPATH FCI F (400:420:430) (400:420:430))
    (INSTANCE bank_0.0.1)
        (IOPATH CLKA DOA3 (5000:5500:5600) (5000:5500:5600))
    (INSTANCE b_TRELLIS_FF_Q)
      (SETUPHOLD (posedge DI) (posedge CLK) (0:0:5) (267:285:303))
      (SETUPHOLD (negedge DI) (posedge CLK) (0:0:3) (267:285:303))
    (INSTANCE b_TRELLIS_FF_Q_3)
      (SETUPHOLD (posedge M) (posedge CLK) (0:0:0) (267:285:303))
    (INSTANCE c_TRELLIS_FF_Q)
      (SETUPHOLD (posedge DI) (posedge CLK) (0:0:0) (267:285:303))
      (SETUPHOLD (posedge CE) (posedge CLK) (0:0:0) (267:285:303))
"""


def test_the_slowest_paths_are_those_whose_delays_add_up(tmp_path):
    """What comes from no clock is no path between registers; of several between two registers the slowest counts."""
    (tmp_path / "delays.sdf").write_text(SDF)
    found = timing.slowest(tmp_path / "delays.sdf", 5)
    bank = timing.Slowest(5.63, "bank", "b")
    assert found == [bank, timing.Slowest(2.8, "a", "b"), timing.Slowest(0.534, "a", "c")]
    assert timing.slowest(tmp_path / "delays.sdf", 1) == [bank]


def test_a_clock_that_no_path_explains_is_refused(tmp_path):
    (tmp_path / "delays.sdf").write_text(SDF)
    report = {
        "fmax": {"clk": {"achieved": 1000 / 5.63}},
        "utilization": {"TRELLIS_FF": {"used": 5}, "IOLOGIC": {"used": 0}},
    }
    routed = route._read(report, tmp_path / "delays.sdf", 3)
    assert (routed.seed, routed.used, len(routed.worst)) == (3, {"TRELLIS_FF": 5}, 3)
    report["fmax"]["clk"]["achieved"] = 1000 / 5.7
    message = f"the slowest path of {tmp_path / 'delays.sdf'} takes 5.63 ns, nextpnr's 5.700 ns"
    with pytest.raises(SystolithError, match=f"^{re.escape(message)}$"):
        route._read(report, tmp_path / "delays.sdf", 3)


def test_the_fit_finds_the_coefficients_that_there_are():
    def engine(**more):
        p = Parameters(**{"rows": 4, "columns": 4, "target": "ecp5", **more})
        luts = {part: sum(10.0 * n for n in named.values()) for part, named in sizes(p).items()}
        cells = {"array": float(p.rows * p.columns), "lanes": 4.0 * p.lanes}
        rams = {"activations": 64.0, "accumulators": 16.0, "control": 2.0}
        return fit.Measured(p, luts, luts, cells, rams)

    engines = [
        engine(),
        engine(rows=8, sum_bits=20),
        engine(columns=8, lanes=3),
        engine(bus_bytes=16),
        engine(rows=16, lanes=4),
        engine(total_bits=24, shift_low=3, shift_high=9),
        engine(total_bits=27, shift_low=7, shift_high=8),
    ]
    found = fit.fit(engines, {})
    assert found["luts"]["lanes"] == {"lanes": 10.0, "shift bits": 10.0, "rounded bits": 10.0}

    def array(p):
        return sum(found["luts"]["array"].get(name, 0.0) * number for name, number in sizes(p)["array"].items())

    for each in engines:  # whose bits and cells grow together, so that no coefficient of theirs is known alone
        assert array(each.parameters) == pytest.approx(each.luts["array"], rel=1e-3)
    assert found["error"] < 1e-3
    assert found["multipliers"] == {"cell": 1.0, "lane": 4.0, "square": 0.0, "product": 0.0}
    scaled = fit.fit([engine(target="gowin")], {}, found)
    assert scaled["luts"]["lanes"] == found["luts"]["lanes"]
    double = dict.fromkeys(("array", "lanes"), 20.0)
    one = Parameters(rows=1, columns=1, sum_bits=9, target="xilinx")
    alone = fit.Measured(one, {"array": 2 * array(one)}, double, {}, {})
    doubled = fit.fit([], {"array": [alone]}, found)
    assert doubled["luts"]["control"]["fixed"] == pytest.approx(20.0, rel=1e-2)
    assert doubled["error"] is None


def test_multipliers_of_products_and_squares_are_told_from_those_of_lanes():
    def measured(array, lanes, vector, **more):
        p = Parameters(rows=4, columns=8, lanes=2, operands=True, target="ecp5", **more)
        luts = dict.fromkeys(sizes(p), 1.0)
        return fit.Measured(p, luts, luts, {"array": array, "lanes": lanes, "vector": vector}, {})

    plain, scaled = measured(32.0, 8.0, 0.0), measured(32.0, 10.0, 0.0, affine=True)
    normalized = measured(32.0, 8.0, 6.0, tables=True, normalization=5)
    found = fit.fit([plain, scaled, normalized], {})
    assert found["multipliers"] == {"cell": 1.0, "lane": 4.0, "square": 1.0, "product": 1.0}


def test_a_unit_is_known_by_its_name_whatever_amaranth_appends():
    assert fit.part_of(["dut", "engine", "lines$430", "line_0", "0"]) == "lines"
    assert fit.part_of(["dut", "engine", "weight_stream", "fifo"]) == "control"


def test_without_yosys_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyosys", None)
    monkeypatch.setattr(synthesis.importlib.util, "find_spec", lambda name: None)
    message = "yosys is not installed; get it with `pip install 'systolith[fpga]'`"
    with pytest.raises(SystolithError, match=f"^{re.escape(message)}$"):
        synthesis.synthesize({"a.v": ""}, "a", "ecp5", tmp_path)
    assert not list(tmp_path.iterdir())
