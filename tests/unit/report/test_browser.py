"""The page in a real browser: it fits a phone and a desk, and pointing at a network shows it."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from llamanas.report.page import write_page
from llamanas.report.results import Results
from llamanas.report.summary import summarize

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """
<script>
const mark = document.querySelector("a.mark[href]"), row = document.querySelector(mark.getAttribute("href"));
const before = getComputedStyle(document.getElementById("hover")).display;
mark.dispatchEvent(new MouseEvent("mouseenter"));
const shown = document.getElementById("hover");
const box = shown.getBoundingClientRect(), width = document.documentElement.clientWidth;
const found = {
  before, words: shown.textContent, inside: box.left >= 0 && box.right <= width,
  network: row.querySelector("th").textContent, width,
  overflow: document.documentElement.scrollWidth - width, closed: !row.closest("details").open,
  paper: getComputedStyle(document.body).backgroundColor,
};
location.hash = mark.getAttribute("href");
setTimeout(() => {
  found.opened = row.closest("details").open;
  document.body.innerHTML = "";
  document.title = JSON.stringify(found);
}, 200);
</script>
"""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def probed(results: Results, figures: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with a script that looks at it and writes what it found into the title."""
    page = tmp_path_factory.mktemp("browser") / "index.html"
    write_page(page, results, summarize(results.picks, results.accuracy, results.speed, results.shape), figures)
    page.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    return page


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_page_fits_and_shows_a_network_where_it_is_pointed_at(probed: Path, width: int, dark: bool) -> None:
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += [f"--blink-settings=preferredColorScheme={int(not dark)}", "--virtual-time-budget=3000", "--dump-dom"]
    run = subprocess.run([*command, probed.as_uri()], capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(\{.*?\})</title>", run.stdout, re.DOTALL)
    assert title, run.stderr[-2000:]
    found = json.loads(unescape(title[1]))
    assert found["before"] == "none" and found["inside"] and found["overflow"] <= 0
    assert found["network"] in found["words"] and "accuracy" in found["words"]
    assert found["closed"] and found["opened"]
    light = sum(map(int, re.findall(r"\d+", found["paper"])[:3])) > 3 * 128
    assert light is not dark
