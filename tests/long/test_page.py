"""The report's page in a real browser: pictures are drawn, tables sort, nothing is fetched, it fits."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from commands import DYING_WITH_US

from bench import report as reports

ROOT = Path(__file__).resolve().parents[2]
LOOK = """<script>
addEventListener("load", () => {
  const box = (each) => { const at = each.getBoundingClientRect(); return [at.width, at.height]; };
  const table = document.querySelector("table.sortable"), head = table.tHead.rows[0].cells[1];
  const column = () => [...table.tBodies[0].rows].map((row) => row.cells[1].dataset.sort);
  const seen = {
    fetched: performance.getEntriesByType("resource").map((each) => each.name),
    pictures: [...document.querySelectorAll("svg")].map(box),
    words: [...document.querySelectorAll("svg text")].map(box),
    overflow: document.documentElement.scrollWidth - innerWidth,
    orders: [],
  };
  for (let click = 0; click < 2; click++) {
    head.querySelector("button").click();
    seen.orders.push([head.getAttribute("aria-sort"), column().map(Number)]);
  }
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
</script>"""


def seen(page: Path, profile: Path, *options: str) -> dict[str, Any]:
    """What the browser says of the page, when all scripts have run."""
    line = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    done = subprocess.run(
        [*DYING_WITH_US, *line, *options, "--virtual-time-budget=5000", "--dump-dom", page.as_uri()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert found is not None, done.stderr
    read: dict[str, Any] = json.loads(unescape(found[1]))
    return read


@pytest.mark.needs("chromium")
@pytest.mark.timeout(400)
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    [page, *_] = reports.write(reports.of([ROOT / "docs/results/first-flow"]), tmp_path / "out")
    page.write_text(page.read_text().replace("</body>", f"{LOOK}</body>"))
    found = seen(page, tmp_path / "wide", "--window-size=1200,900")
    assert found["fetched"] == []
    assert len(found["pictures"]) == 2 and all(min(size) > 100 for size in found["pictures"])
    assert len(found["words"]) > 40 and all(min(size) > 0 for size in found["words"])
    (first, down), (second, up) = found["orders"]
    assert (first, second) == ("descending", "ascending")
    assert len(down) == 10 and down == sorted(down, reverse=True) and up == sorted(up)
    narrow = seen(page, tmp_path / "narrow", "--window-size=500,900")
    assert found["overflow"] <= 0 and narrow["overflow"] <= 0
