"""The report in a real browser: nothing is cut off, overlaps or is struck through, on a desk and on a phone.

Only where Chromium is installed (Debian: ``chromium``); everything else about the page is tested without a browser.
"""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import onnx
import pytest

from systolith import generate_build, quant, report_build
from systolith.sim import accelerator as accelerators

from . import models
from .report_builds import measured, quantized

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed, so no page was laid out")

WIDTHS = [400, 1200, 1600]
PROBE = """
const page = document.getElementById("page").contentDocument;
const box = item => item.getBoundingClientRect();
const all = (selector, item = page) => [...item.querySelectorAll(selector)];
const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
const width = page.documentElement.clientWidth;
const inside = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1
  && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
const tilted = text => /rotate\\((?!-?0\\))/.test(text.getAttribute("transform") || "");
const upright = svg => all("text", svg).filter(text => !tilted(text));
const struck = svg => {
  const line = svg.querySelector("[id$=-roof] path");
  if (!line) return [];
  const points = [...Array(2001).keys()].map(at =>
    line.getPointAtLength(at / 2000 * line.getTotalLength()).matrixTransform(line.getScreenCTM()));
  return upright(svg).filter(text => points.some(p => meet(box(text), {left: p.x - 1, right: p.x + 1, top: p.y - 1,
    bottom: p.y + 1}))).map(text => text.textContent);
};
page.fonts.ready.then(() => document.title = JSON.stringify({
  width: page.documentElement.scrollWidth,
  outside: all("body *").filter(item => box(item).right > width + 1 && !item.closest(".wide")).map(i => i.outerHTML),
  scrolled: all(".wide").filter(item => item.scrollWidth > item.clientWidth + 1).map(i => i.textContent.slice(0, 60)),
  clipped: all("td, th, .tile").filter(item => item.scrollWidth > item.clientWidth + 1).map(item => item.textContent),
  cut: all("svg").flatMap(svg => all("text", svg).filter(text => !inside(box(text), box(svg)))).map(t => t.textContent),
  overlapping: all("svg").flatMap(svg => upright(svg).flatMap((a, at, texts) => texts.slice(at + 1)
    .filter(b => meet(box(a), box(b))).map(b => a.textContent + " | " + b.textContent))),
  struck: all("svg").flatMap(struck),
  roofs: all("[id$=-roof]").length,
  broken: all("img").filter(image => !image.complete || !image.naturalWidth).length,
  drawn: all("svg").map(svg => box(svg).height),
  sections: all("section").map(section => box(section).height),
  background: getComputedStyle(page.body).backgroundColor,
}));
"""


@pytest.fixture(scope="module", params=["branches", "digits"])
def page(request, tmp_path_factory):
    """A report with everything in it: of layers that overlap and have long names, and of a batch."""
    folder = tmp_path_factory.mktemp("browser")
    if request.param == "branches":
        model, options = models.branched("inception"), {}
        for node in model.graph.node:
            node.name = f"inception_4a_of_the_network/{node.op_type}_{node.output[0]}/branch"
    else:
        model, options = (
            quant.Network.pattern((3, 12, 12), [[6], [8]], hidden=[10], classes=4).to_onnx(seed=4),
            {"batch": 3},
        )
    onnx.save(model, folder / "float.onnx")
    quant.save(quantized(model), folder / "q.onnx")
    x = models.images(model, 24)
    np.savez(folder / "data.npz", x=x, y=np.arange(24) % 4)
    generate_build(folder / "q.onnx", folder / "build", rows=8, columns=8, **options)
    accelerator = accelerators.load(folder / "build")
    measured(accelerator, stalls={"array_token": 400.0, "array_half": 300.0}).save(folder / "build")
    output = folder / "report.html"
    report_build(
        folder / "build", output, float_model=folder / "float.onnx", inputs=folder / "data.npz", clock_mhz=123.4
    )
    return output


def laid_out(page, folder, width):
    """What the browser made of the page in a frame ``width`` pixels wide; the frame may not run scripts."""
    frame = page.read_text().replace("&", "&amp;").replace('"', "&quot;")
    style = f"width:{width}px;height:800px;border:0"
    (folder / "frame.html").write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><iframe id="page" sandbox="allow-same-origin" style="{style}"'
        f' srcdoc="{frame}"></iframe><script>onload = () => {{ {PROBE} }}</script>'
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder / 'data'}"]
    options += ["--window-size=1800,1000", "--virtual-time-budget=10000", "--dump-dom"]
    command = [CHROMIUM, *options, f"file://{folder / 'frame.html'}"]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", dumped)
    assert title, "the page was not laid out"
    return json.loads(html.unescape(title[1]))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window(page, tmp_path, width):
    found = laid_out(page, tmp_path, width)
    assert found["width"] == width
    assert found["outside"] == []
    assert found["clipped"] == []
    if width >= 1200:
        assert found["scrolled"] == [], "a table or plot is wider than a desk's window"
    assert found["cut"] == []
    assert found["overlapping"] == []
    assert found["roofs"] == 1
    assert found["struck"] == []
    assert found["broken"] == 0
    assert len(found["drawn"]) == 3
    assert min(found["drawn"]) > 100
    assert len(found["sections"]) == 11
    assert min(found["sections"]) > 50
    assert found["background"] == "rgb(255, 255, 255)"
