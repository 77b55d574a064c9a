"""A report in Chromium: at three widths, in both schemes, printed, and without the network."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli

_SPEC = importlib.util.spec_from_file_location("esper_test_browser", Path(__file__).parents[1] / "browser.py")
browser = sys.modules.setdefault("esper_test_browser", importlib.util.module_from_spec(_SPEC))
_SPEC.loader.exec_module(browser)

pytestmark = pytest.mark.slow

#: A telephone, a tablet, a screen.
WIDTHS = (390, 768, 1280)


@pytest.fixture(scope="module", autouse=True)
def installed():
    if browser.chromium() is None:
        assert not os.environ.get("CI"), "chromium is not installed: apt-get install chromium"
        pytest.skip("chromium is not installed")


@pytest.fixture
def report(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        files = make_run(f"run-{number}").short_life()
        files.denial(8, "it is too late " * 20)
        files.write(files.manifest(seed=number), files.result(grown=0.8 + number / 10))
    done = CliRunner().invoke(cli, ["report", "run-0", "run-1"])
    assert done.exit_code == 0, done.output
    return tmp_path / "report.html"


@pytest.fixture
def page(tmp_path):
    with browser.browser(tmp_path / "profile") as opened:
        yield opened


def test_it_is_whole_at_every_width(report, page):
    for width in WIDTHS:
        for dark in (False, True):
            page.open(report, width, dark=dark)
            page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
            # Wide tables scroll in themselves; the page does not.
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            # What goes on at the right of a table is hinted at by a shade that the table's end covers.
            shade = page.evaluate("getComputedStyle(document.querySelector('.scroll')).backgroundAttachment")
            assert shade == "local, scroll"
            sizes = page.evaluate(
                "[...document.querySelectorAll('svg text')].map(it => it.getBoundingClientRect())"
                ".filter(box => box.height).map(box => box.height)"
            )
            assert min(sizes) > 8
            light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert light != dark
    assert page.complaints == []


def test_marks_and_curves_say_their_figures(report, page):
    page.open(report, 1280)
    page.evaluate("document.querySelector('.mark.fossilized').focus()")
    assert "PROBATIONARY → FOSSILIZED" in page.evaluate("document.getElementById('tip').textContent")
    page.evaluate("document.activeElement.blur()")
    assert page.evaluate("document.getElementById('tip').hidden")
    page.evaluate("document.querySelector('svg[data-x]').scrollIntoView()")
    box = page.evaluate("document.querySelector('svg[data-x]').getBoundingClientRect().toJSON()")
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=box["right"] - 2, y=box["y"] + 60)
    assert page.evaluate("document.getElementById('tip').textContent") == "epoch 10\ngrown: 75.0 %\ntwin: 60.0 %"
    assert page.complaints == []


def test_it_prints_everything(report, page):
    page.open(report, 1280)
    assert page.printed().startswith(b"%PDF-")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.querySelectorAll('details[open]').length") == 0
    assert page.complaints == []


def test_what_breaks_the_policy_is_seen_here(report, page):
    broken = report.with_name("broken.html")
    broken.write_text(report.read_text().replace("</main>", '</main><script>alert(1)</script><p style="color:red">'))
    page.open(broken, 1280)
    assert len(page.complaints) == 2
