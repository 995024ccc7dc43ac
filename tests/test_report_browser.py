"""The report in a real browser: laid out without overflow on a desk and on a phone.

Only where Chromium is installed (Debian: ``chromium``); everything else about the page is tested without a browser.
"""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from systolith import generate_build, quant, report_build

from .test_report import NETWORK, edit, measured, with_traffic

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed, so no page was laid out")

PROBE = """<script>
const page = document.getElementById("page").contentDocument;
page.fonts.ready.then(() => {
  const broken = [...page.images].filter(image => !image.complete || !image.naturalWidth).length;
  const drawn = [...page.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect().height);
  const sections = [...page.querySelectorAll("section")].map(section => section.getBoundingClientRect().height);
  document.title = JSON.stringify({width: page.documentElement.scrollWidth, broken, drawn, sections,
    images: page.images.length, background: getComputedStyle(page.body).backgroundColor});
});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with everything in it."""
    folder = tmp_path_factory.mktemp("browser")
    model = NETWORK.to_onnx(seed=4)
    x = np.random.default_rng(4).random((24, 3, 12, 12), np.float32)
    (folder / "float.onnx").write_bytes(model.SerializeToString())
    quant.save(quant.quantize(model, x), folder / "q.onnx")
    np.savez(folder / "data.npz", x=x, y=np.arange(24) % 4)
    generate_build(folder / "q.onnx", folder / "build", rows=4, columns=4)
    edit(folder / "build", with_traffic)
    measured(folder / "build").save(folder / "build")
    output = folder / "report.html"
    report_build(folder / "build", output, float_model=folder / "float.onnx", inputs=folder / "data.npz")
    return output


def laid_out(page, folder, width):
    """What the browser made of the page in a frame ``width`` pixels wide; the frame may not run scripts."""
    frame = page.read_text().replace("&", "&amp;").replace('"', "&quot;")
    style = f"width:{width}px;height:800px;border:0"
    (folder / "frame.html").write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><iframe id="page" sandbox="allow-same-origin" style="{style}"'
        f' srcdoc="{frame}"></iframe><script>onload = () => {{ {PROBE[8:-9]} }}</script>'
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder / 'data'}"]
    command = [CHROMIUM, *options, "--virtual-time-budget=10000", "--dump-dom", f"file://{folder / 'frame.html'}"]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", dumped)
    assert title, "the page was not laid out"
    return json.loads(title[1])


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_its_window(page, tmp_path, width):
    found = laid_out(page, tmp_path, width)
    assert found["width"] == width
    assert found["broken"] == 0
    assert found["images"] == 1 + 6 + 6 + 8 + 8
    assert len(found["drawn"]) == 2
    assert min(found["drawn"]) > 100
    assert len(found["sections"]) == 10
    assert min(found["sections"]) > 50
    assert found["background"] == "rgb(255, 255, 255)"
