"""A package for LiteX, without LiteX: its files, the module's ports, the script, the firmware's C, what it runs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import systolith
from systolith.host import Build
from systolith.hw.engine.emit import TOP
from systolith.hw.litex import source
from systolith.hw.manifest import Manifest
from systolith.hw.vendors.litex import CHECKED, MODELS, SOURCES, litex_files
from systolith.hw.vendors.package import write_package
from systolith.quant import ConfigurationError, DataError

from . import litex_stubs, models
from .packages import RUNS, SMALL, build, hardware, package, ports

pytestmark = pytest.mark.xdist_group("vendors")
OURS = ("systolith_litex", "systolith_target")


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """The folder of a package whose modules can be imported, on stubs of LiteX."""
    folder = tmp_path / "package"
    folder.mkdir()
    for name, data in package("tiny", "litex").items():
        (folder / name).write_bytes(data)
    for name, module in litex_stubs.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(folder))
    litex_stubs.forget(*OURS)
    yield folder
    litex_stubs.forget(*OURS)


def test_the_module_connects_every_port_of_the_verilog(packed):
    module = importlib.import_module("systolith_litex")
    soc = litex_stubs.soc(64)
    made = module.add_systolith(soc)
    (instance,) = made.specials
    assert instance.name == TOP
    ways = {"in": "i_", "out": "o_"}
    assert set(instance.ports) == {
        f"{ways[way]}{name}" for name, (way, _) in ports(TOP, (packed / "systolith.v").read_bytes()).items()
    }
    for name, signal in instance.ports.items():
        way, prefix, *rest = name.split("_")
        if prefix in ("s", "m"):
            channel = next(channel for channel in ("aw", "ar", "w", "r", "b") if rest[1].startswith(channel))
            part = "[:8]" if prefix == "s" and rest[1].endswith("addr") else ""
            assert signal == f"{channel}.{rest[1].removeprefix(channel)}{part}", (way, name)
    assert (instance.ports["i_clk"], instance.ports["i_rst"]) == ("sys", "reset of sys")
    assert instance.ports["o_interrupt"] == "rising edge"


def test_the_soc_gets_registers_memory_and_an_interrupt(packed):
    module = importlib.import_module("systolith_litex")
    soc = litex_stubs.soc(64)
    made = module.add_systolith(soc)
    assert soc.added.modules == {"accelerator": made}
    assert soc.added.irqs == ["accelerator"]
    ((name, (registers, region)),) = soc.added.slaves.items()
    assert (name, registers, region.size, region.cached) == ("accelerator", made.registers, 256, False)
    assert (made.dram.axi, made.dram.base_address) == (made.memory, 0x40000000)
    assert (made.memory.data_width, made.memory.address_width, made.memory.id_width) == (64, 40, 1)
    assert made.dram.port.data_width == 64
    assert soc.platform.sources == ["systolith.v"]
    silent = litex_stubs.soc(64, interrupts=False)
    module.add_systolith(silent)
    assert silent.added.irqs == []


def test_the_simulator_gets_the_model_of_a_block(packed):
    module = importlib.import_module("systolith_litex")
    (packed / "MULT.v").write_text("")
    for simulated, sources in ((False, ["systolith.v"]), (True, ["MULT.v", "systolith.v"])):
        soc = litex_stubs.soc(64, simulated=simulated)
        module.add_systolith(soc)
        assert soc.platform.sources == sources


@pytest.mark.parametrize(
    ("bits", "what"),
    [
        (32, "generate the accelerator with --bus-bytes 4"),
        (128, "generate the accelerator with --bus-bytes 16"),
        (512, "generate the accelerator with --bus-bytes 64"),
        (16, "no accelerator has such a bus"),
        (72, "no accelerator has such a bus"),
        (1024, "no accelerator has such a bus"),
    ],
)
def test_a_port_of_another_width_is_refused(packed, bits, what):
    module = importlib.import_module("systolith_litex")
    with pytest.raises(module.SystolithError) as caught:
        module.add_systolith(litex_stubs.soc(bits))
    assert str(caught.value) == f"this DRAM's port has {bits} bits, the accelerator's bus 64; {what}"


def test_a_soc_without_dram_and_a_file_that_is_not_ours_are_refused(packed):
    module = importlib.import_module("systolith_litex")
    soc = litex_stubs.soc(64)
    soc.bus.regions.clear()
    with pytest.raises(module.SystolithError, match=r"^this SoC has no DRAM of LiteDRAM, which the accelerator needs"):
        module.add_systolith(soc)
    (packed / "systolith.v").write_text("module systolith(); endmodule\n")
    with pytest.raises(module.SystolithError, match=r"systolith\.v has no port m_axi_rdata: it is not what"):
        module.add_systolith(litex_stubs.soc(64))


TARGET = """
class BaseSoC:
    def __init__(self, name, **options):
        self.name, self.options = name, options

def main():
    import sys
    made.append((BaseSoC("a SoC", width=3), sys.argv))

made = []
"""


def test_the_script_adds_to_a_targets_soc(packed, tmp_path, monkeypatch):
    script = importlib.import_module("systolith_target")
    added = []
    monkeypatch.setattr(script, "add_systolith", added.append)
    monkeypatch.setattr(sys, "argv", ["as it was"])
    (tmp_path / "board_of_mine.py").write_text(TARGET)
    monkeypatch.syspath_prepend(str(tmp_path))
    script.main([str(tmp_path / "board_of_mine.py"), "--build", "--x", "1"])
    ((soc, arguments),) = sys.modules.pop("board_of_mine").made
    assert added == [soc]
    assert (soc.name, soc.options) == ("a SoC", {"width": 3})
    assert arguments[1:] == ["--build", "--x", "1"]


def test_the_script_takes_targets_of_litex_boards(packed, monkeypatch):
    script = importlib.import_module("systolith_target")
    ran = []
    target = SimpleNamespace(BaseSoC=type("BaseSoC", (), {}), main=lambda: ran.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["as it was"])
    monkeypatch.setattr(script.importlib, "import_module", {"litex_boards.targets.some_board": target}.__getitem__)
    script.main(["some_board", "--build"])
    assert ran == [["--build"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: python systolith_target.py TARGET"),
        (["--build"], "usage: python systolith_target.py TARGET"),
        (["no_board"], "there is no target 'no_board': No module named 'litex_boards'"),
        (["no_file.py"], "there is no target 'no_file.py': No module named 'no_file'"),
        (["empty_target.py"], "'empty_target.py' has no BaseSoC, so it is no target as litex-boards has them"),
        (["half_target.py"], "'half_target.py' has no main, so it is no target as litex-boards has them"),
        (["needy_target.py"], "target 'needy_target.py' needs the package 'liteabsent', which is not installed"),
    ],
)
def test_the_script_says_what_is_missing(packed, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("empty_target.py").write_text("")
    Path("half_target.py").write_text("class BaseSoC: pass\n")
    Path("needy_target.py").write_text("import liteabsent\n")
    script = importlib.import_module("systolith_target")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(script.SystolithError) as caught:
        script.main(arguments)
    assert str(caught.value).startswith(message)


def test_without_litex_the_script_says_so_in_one_line(tmp_path):
    for name in ("systolith_litex.py", "systolith_target.py"):
        (tmp_path / name).write_bytes(source(name))
    (tmp_path / "litedram.py").write_text("raise ModuleNotFoundError('nothing of that name')\n")
    done = subprocess.run([sys.executable, "systolith_target.py", "x"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "systolith: error: LiteX is not installed (nothing of that name); get it with pip install 'systolith[litex]'\n"
    )


HEADERS = {
    "generated/csr.h": "static inline void accelerator_ev_pending_write(uint32_t v) { (void)v; }\n"
    "static inline void accelerator_ev_enable_write(uint32_t v) { (void)v; }\n",
    "generated/mem.h": "#define MAIN_RAM_BASE 0x40000000L\n#define MAIN_RAM_SIZE 0x04000000\n#define ACCELERATOR_BASE "
    "0x80000000L\n",
    "generated/soc.h": "#define ACCELERATOR_INTERRUPT 2\n#define CONFIG_L2_SIZE 8192\n",
    "irq.h": "void irq_setie(unsigned int ie); void irq_setmask(unsigned int mask); unsigned int irq_getmask(void);\n"
    "int irq_attach(unsigned int irq, void (*isr)(void));\n",
    "libbase/uart.h": "void uart_init(void);\n",
    "system.h": "void flush_cpu_dcache(void); void flush_l2_cache(void);\n",
}


@pytest.mark.parametrize("stale", [[], ["-DSTALE"]])
def test_the_firmware_compiles_without_a_warning(packed, tmp_path, stale):
    """Against what it calls of LiteX, for this computer."""
    for name, text in HEADERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    flags = ["-x", "c", "-std=gnu99", "-Wall", "-Wextra", "-Werror", "-Wstrict-prototypes", "-fsyntax-only"]
    command = ["g++", *flags, *stale, "-I", tmp_path, "-I", packed, packed / "firmware.c"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_package_of_an_fpga_has_the_model_of_its_block():
    manifest = hardware("tiny")
    assert isinstance(manifest, Manifest)
    for target, model in {"generic": set(), "ecp5": {"MULT18X18D.v"}, "gowin": {"MULT.v"}}.items():
        told = manifest.model_copy(update={"parameters": replace(manifest.parameters, target=target)})
        assert set(litex_files(build("tiny"), told, RUNS)) & set(MODELS) == model


def test_a_network_and_inputs_are_needed(tmp_path):
    message = r"^the firmware for litex needs a network's build, and inputs to run$"
    with pytest.raises(ConfigurationError, match=message):
        write_package(build("general"), "litex", tmp_path / "out", runs=RUNS)
    with pytest.raises(ConfigurationError, match=message):
        write_package(build("tiny"), "litex", tmp_path / "out")
    with pytest.raises(
        ConfigurationError, match=r"^a clock is for the scripts of vivado; a target of LiteX has one of"
    ):
        write_package(build("tiny"), "litex", tmp_path / "out", 100, RUNS)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """(quantized model, its build for two images a run, seven images)"""
    folder = tmp_path_factory.mktemp("quantized")
    images = np.random.default_rng(11).normal(size=(7, 2, 6, 6)).astype(np.float32)
    model = systolith.quantize_model(models.tiny(), images, folder / "q.onnx").path
    systolith.generate_build(model, folder / "build", batch=2, **SMALL)
    return model, folder / "build", images


@pytest.mark.parametrize(("images", "ran"), [(3, [0, 1, 2, 2]), (None, [0, 1, 2, 3, 4, 5]), (1, [0, 0])])
def test_the_firmware_runs_the_images_and_knows_goldens_answers(quantized, tmp_path, images, ran):
    model, folder, data = quantized
    systolith.package_build(folder, tmp_path / "out", vendor="litex", inputs=data, images=images)
    network = Build.load(folder)
    (given,), (output,) = network.inputs, network.outputs
    stored = (tmp_path / "out" / "images.bin").read_bytes()
    integers = given.quantized(given.checked(data[ran], True), True)
    assert stored == b"".join(given.encoded(integers[at : at + 2]) for at in range(0, len(ran), 2))
    answers = (tmp_path / "out" / "answers.bin").read_bytes()
    assert len(answers) == len(ran) // 2 * output.size
    found = np.concatenate(
        [output.decoded(answers[at : at + output.size]) for at in range(0, len(answers), output.size)]
    )
    expected = systolith.run_golden(model, data[ran]).y_q
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_images_that_are_not_there_are_refused(quantized, tmp_path):
    _, folder, data = quantized
    for count in (0, 8):
        with pytest.raises(DataError, match=rf"^images must be 1 to 7, as many as the data holds, not {count}$"):
            systolith.package_build(folder, tmp_path / "out", vendor="litex", inputs=data, images=count)
    assert not (tmp_path / "out").exists()


def test_the_sources_say_what_was_checked():
    for name in SOURCES:
        assert CHECKED in source(name).decode(), name
