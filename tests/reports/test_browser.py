"""`report.html` in a real headless Chromium, driven through chromedriver's WebDriver protocol.

Debian: apt-get install chromium chromium-driver. Set BENCH_SCREENSHOTS to a folder to keep the screenshots.
"""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from reports.analysis import analyse
from reports.report import Extras, write

pytestmark = pytest.mark.browser
EVIL = "<script>document.title='owned'</script>"


class Browser:
    """The few WebDriver calls that the tests need."""

    def __init__(self, port):
        self.root = f"http://127.0.0.1:{port}/session"
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self.call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.root += "/" + made["sessionId"]

    def call(self, verb, path, body=None):
        data = json.dumps(body or {}).encode() if verb == "POST" else None
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=verb)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()[:500]) from error

    def run(self, script, *args):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def element(self, css):
        return "/element/" + next(iter(self.call("POST", "/element", {"using": "css selector", "value": css}).values()))

    def click(self, css):
        self.call("POST", self.element(css) + "/click")

    def type(self, css, text):
        self.call("POST", self.element(css) + "/value", {"text": text})

    def screenshot(self, name):
        data = base64.b64decode(self.call("GET", "/screenshot"))
        if "BENCH_SCREENSHOTS" in os.environ:
            Path(os.environ["BENCH_SCREENSHOTS"], f"{name}.png").write_bytes(data)
        return data

    def errors(self):
        return [entry for entry in self.call("POST", "/se/log", {"type": "browser"}) if entry["level"] in ("SEVERE", "WARNING")]


@pytest.fixture(scope="module")
def browser():
    if not (shutil.which("chromedriver") and shutil.which("chromium")):
        pytest.fail("needs Debian's packages chromium and chromium-driver")
    port = 9515 + os.getpid() % 1000
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5)
            break
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    made = Browser(port)
    yield made
    made.call("DELETE", "")
    driver.terminate()
    driver.wait()


@pytest.fixture(scope="module")
def address(sim, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    frame = sim.simulate(25, 16, 2)
    frame["label"] = frame["label"].replace({"sce": EVIL})
    frame["dataset"] = "icons_" + frame["dataset"] + "_and_" + frame["dataset"]  # long names, as those of icons
    (folder / "results" / "runs").mkdir(parents=True)
    analysis = analyse(frame)
    analysis.notes.append(f"{EVIL} & simulated")
    made = write(
        sim.as_results(frame), analysis, folder / "report", Extras(source=folder / "results", command="bench report results")
    )
    return (made.folder / "report.html").as_uri()


@pytest.fixture
def page(browser, address):
    browser.call("POST", "/window/rect", {"width": 1280, "height": 900})
    browser.call("POST", "/url", {"url": address})
    return browser


ROWS = "return [...document.querySelectorAll('#board tbody tr')].filter(r => !r.hidden).map(r => r.dataset.label)"


def test_the_page_opens_without_an_error_and_names_are_text(page):
    assert page.call("GET", "/title") == "Noisy Prompt Bench: report"
    assert page.errors() == []
    assert EVIL in page.run(ROWS)
    assert page.run("return document.querySelectorAll('img').length") >= 7
    assert page.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.run("return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    page.screenshot("desktop")


def test_sorting_by_click_and_by_keyboard(page):
    assert len(page.run(ROWS)) == 26
    page.click("#board th:nth-child(5) button")  # clean
    clean = "return [...document.querySelectorAll('#board tbody tr')].map(r => Number(r.cells[4].dataset.key))"
    values = page.run(clean)
    assert values == sorted(values, reverse=True)
    assert page.run("return document.querySelector('#board th:nth-child(5)').getAttribute('aria-sort')") == "descending"
    page.type("#board th:nth-child(5) button", "\ue007")  # Enter
    assert page.run(clean) == sorted(values)
    page.click("#board th:nth-child(1) button")
    names = page.run(ROWS)
    assert names == page.run("return arguments[0].slice().sort((a, b) => a.localeCompare(b))", names)
    page.click("#board th:nth-child(8) button")  # p: the control and the oracle have none and stay last
    assert page.run("return [...document.querySelectorAll('#board tbody tr')].slice(-2).map(r => r.cells[7].dataset.key)") == [
        "",
        "",
    ]
    assert page.errors() == []


def test_filtering(page):
    page.type("#filter", "mae")
    assert sorted(page.run(ROWS)) == ["mae", "mae_lse", "nce_mae"]
    assert page.run("return document.getElementById('count').textContent") == "3 of 26 methods"
    page.run("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input'))")
    page.click("#oracles")
    assert "clean_only †" not in page.run(ROWS)
    assert len(page.run(ROWS)) == 25


def test_a_number_opens_its_runs_with_links_to_their_records(page):
    page.run("const s = document.getElementById('setting'); s.value = 2; s.dispatchEvent(new Event('change'))")
    page.run("document.getElementById('numbers').scrollIntoView()")
    page.click("#matrix tbody tr:nth-child(2) td:nth-child(3) .behind")
    runs = page.run("return [...document.querySelectorAll('#runs tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
    assert [row[1] for row in runs] == ["1", "2"]
    mean = sum(float(row[2]) for row in runs) / 2
    shown = page.run("return document.querySelector('.behind[aria-pressed=true]').textContent")
    assert float(shown) == pytest.approx(mean, abs=0.06)
    link = page.run("return document.querySelector('#runs a').href")
    assert link.endswith(f"/results/runs/{runs[0][0]}/record.json")
    assert page.errors() == []
    page.screenshot("numbers")


def test_a_phone_scrolls_tables_and_not_the_page(page):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})
    page.call("POST", "/refresh")
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot("phone")
    page.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}})


def test_nothing_lies_beyond_the_edge_of_a_laptop(page):
    page.call("POST", "/window/rect", {"width": 1460, "height": 900})
    page.call("POST", "/refresh")
    assert page.run(
        "return [...document.querySelectorAll('#board td, #board th')].every(e => e.getBoundingClientRect().right <= innerWidth)"
    )
    page.screenshot("laptop")


def test_methods_of_the_chart_can_be_toggled_and_points_say_their_numbers(page):
    lines = "return document.querySelectorAll('#chart polyline').length"
    before = page.run(lines)
    assert before == 8
    page.click("#toggles button[aria-pressed=true]")
    assert page.run(lines) == before - 1
    assert " at 50 %: " in page.run("return [...document.querySelectorAll('#chart title')].map(t => t.textContent).join('|')")
    assert page.errors() == []


def test_no_table_is_cut_in_print(page):
    portrait = {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False}  # A4 without its margins
    for command, params in (("setDeviceMetricsOverride", portrait), ("setEmulatedMedia", {"media": "print"})):
        page.call("POST", "/goog/cdp/execute", {"cmd": f"Emulation.{command}", "params": params})
    page.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    right = "return [...document.querySelectorAll('table')].map(t => Math.round(t.getBoundingClientRect().right))"
    assert max(page.run(right)) <= 718
    page.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"media": ""}})
    page.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}})


def test_it_prints(address, tmp_path):
    """Chromium's own command, as a driver gives up after ten seconds."""
    made = tmp_path / "print.pdf"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--print-to-pdf={made}"]
    subprocess.run(["chromium", *flags, address], check=True, capture_output=True, timeout=300)
    assert made.read_bytes().startswith(b"%PDF")
    if "BENCH_SCREENSHOTS" in os.environ:
        shutil.copy(made, os.environ["BENCH_SCREENSHOTS"])
