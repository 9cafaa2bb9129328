"""The report as a real browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape, unescape

import numpy as np
import pytest

from pipelines.evaluate.report.page import render
from pipelines.scenes.toy import draw_toy
from pipelines.scenes.toy_page import render_toy, toy_rows

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
PHONE, DESK, PAPER = 390, 1280, 718
"""Widths in pixels: of a phone, of a desk's screen, and of A4 between margins of 1 cm."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=f"no browser here: {', '.join(NAMES)}"),
]

FRAME = """<!doctype html><title>frame</title>
<iframe style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe><pre></pre>
<script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const root = page.documentElement;
  const shown = [...page.querySelectorAll("main *")].filter((e) => !e.closest(".scroll, svg, pre"));
  document.querySelector("pre").textContent = JSON.stringify({{
    width: root.clientWidth,
    scrolls: root.scrollWidth,
    beyond: shown.filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1)
      .map((e) => e.tagName + "." + e.className),
    images: [...page.images].map((e) => [e.alt, e.naturalWidth]),
    drawings: [...page.querySelectorAll("svg")].map((e) => e.getAttribute("aria-label")),
    heading: page.querySelector("h1").textContent,
    tables: [...page.querySelectorAll(".scroll")].map((e) => e.scrollWidth - e.clientWidth),
  }});
}});
</script>"""


@pytest.fixture
def browse(tmp_path):
    """Run Chromium on a file; returns what it prints, and its errors, warnings and refusals."""

    def run(path, *options):
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"]
        command += [*options, path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return run


@pytest.fixture
def look(tmp_path, browse):
    """Lay a page out at a width: what there is of it, without a word on the console."""

    def measured(page, width):
        path = tmp_path / "frame.html"
        path.write_text(FRAME.format(width=width, page=escape(page, quote=True)), "utf-8")
        printed, console = browse(path, "--dump-dom")
        assert console == []
        return json.loads(unescape(re.search("<pre>(.*?)</pre>", printed, re.DOTALL)[1]))

    return measured


@pytest.fixture
def page(report):
    """The page of a report as wide as the standard one: two models at three scales."""
    more = {(model, 3.0): report.estimates[model, 1.0] for model in ("baseline", "kaleido")}
    grid = report.grids[0]
    pictures = np.zeros((8, 32, 32, 3), np.uint8)
    rows = [(model, scale, pictures) for model, scale, _ in grid.rows]
    estimates = dict(sorted((report.estimates | more).items(), key=lambda item: item[0][1]))
    return render(replace(report, estimates=estimates, grids=[replace(grid, rows=rows)] * 2))


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_report_fits_its_window_and_says_nothing_on_the_console(page, look, width):
    seen = look(page, width)
    assert seen["heading"].startswith("Does drawing z first keep pictures diverse")
    assert seen["width"] == seen["scrolls"] == width and seen["beyond"] == []
    assert len(seen["images"]) == 4 and len(seen["drawings"]) > 8
    assert all(alt and wide > 0 for alt, wide in seen["images"])
    assert all(seen["drawings"])


def test_a_void_report_fits_a_phone(report, look):
    parity = replace(report.parity, sound=False, reason="the models are not equally trained.")
    seen = look(render(replace(report, parity=parity)), PHONE)
    assert seen["scrolls"] == PHONE and seen["beyond"] == []


def test_the_toy_fits_a_phone(look):
    drawn = draw_toy()
    seen = look(render_toy(drawn, toy_rows(drawn)), PHONE)
    assert seen["scrolls"] == PHONE and seen["beyond"] == [] and all(seen["drawings"])


def test_nothing_is_cut_off_in_print(page, look, browse, tmp_path):
    # As on paper: its rules for print, and no wider than a sheet.
    seen = look(page.replace("@media print", "@media all"), PAPER)
    assert seen["scrolls"] == PAPER and seen["beyond"] == []
    assert max(seen["tables"]) <= 0
    path = tmp_path / "index.html"
    path.write_text(page, "utf-8")
    _, console = browse(path, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert console == []
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", printed)) >= 2


def test_a_fault_in_a_page_would_be_heard_and_seen(page, look, tmp_path):
    with pytest.raises(AssertionError, match="CONSOLE"):
        look(page.replace("</main>", "<script>alert(1)</script></main>"), PHONE)
    wide = look(page.replace("</main>", '<p style="width:2000px">x</p></main>'), PHONE)
    assert wide["scrolls"] > PHONE and wide["beyond"] == ["P."]
