"""The dashboard in Chromium: widths, schemes, keyboard, what changes while one looks, and what a hostile run can do."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from esper_app_dashboard.services import Services
from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.events import EventKind
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

ROOT = Path(__file__).parents[1]


def helper(name):
    spec = importlib.util.spec_from_file_location(f"esper_test_{name}", ROOT / f"{name}.py")
    module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


browser, run_files, server = helper("browser"), helper("run_files"), helper("dashboard_server")

pytestmark = pytest.mark.slow

#: A telephone, a tablet, a screen.
WIDTHS = (390, 768, 1280)

HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard") / "runs"
    for number in range(3):
        files = run_files.RunFiles(folder, f"digits-{number}").short_life()
        files.denial(8, "it is too late " * 20)
        files.event(EventKind.GOVERNOR_INTERVENED, {"mode": GovernorMode.CONSERVATIVE, "reason": "it jumped"}, epoch=8)
        manifest = files.manifest(seed=number, config={"gates": {"G2": {"max_update_ratio": 1.0}}})
        files.write(manifest, files.result(grown=0.8 + number / 10) if number else None)
    hostile = run_files.RunFiles(folder, "hostile").short_life()
    hostile.denial(8, HOSTILE)
    hostile.event(EventKind.NOTICE, {"message": HOSTILE}, host="", epoch=None)
    hostile.write(hostile.manifest(name=HOSTILE))
    (run_files.RunFiles(folder, "broken").short_life().write() / "manifest.json").write_text("{]")
    return folder


@pytest.fixture(scope="module")
def address(runs):
    """Runs, and the services of a machine: one of them has failed."""
    (state := runs.parent / "state").mkdir()
    with server.supervised(state), server.serving(runs, services=Services(state)) as (_, port):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    if browser.chromium() is None:
        assert not os.environ.get("CI"), "chromium is not installed: apt-get install chromium"
        pytest.skip("chromium is not installed")
    with browser.browser(tmp_path_factory.mktemp("profile"), network=True) as opened:
        yield opened


@pytest.fixture
def page(shared):
    shared.open("about:blank", 1280)
    shared.complaints.clear()
    yield shared
    assert shared.complaints == []


def choose(page, address, *names, width=1280, dark=False):
    """Open the page with these runs chosen, and wait until they are drawn."""
    page.open("about:blank", width, dark=dark)
    page.open(address, width, dark=dark)
    page.until("document.querySelectorAll('#runs li').length == 5")
    wanted = ", ".join(f"'{name}'" for name in names)
    page.evaluate(
        f"""choose([...document.querySelectorAll('#runs li')]
            .filter(it => [{wanted}].includes(it.querySelector('.name').textContent))
            .map(it => it.querySelector('input').value))"""
    )
    page.until(f"document.querySelectorAll('.run[data-version]').length == {len(names)}")
    page.until("state.textContent == 'live'")


def words(page, selector):
    return page.evaluate(f"document.querySelector({selector!r}).textContent")


def test_it_is_whole_at_every_width_and_in_both_schemes(page, address):
    for width in WIDTHS:
        for dark in (False, True):
            choose(page, address, "digits-1", "digits-2", width=width, dark=dark)
            page.until("document.querySelectorAll('.run .u-wrap').length >= 12")
            page.evaluate("document.querySelectorAll('main details').forEach(it => it.open = true)")
            # Wide tables scroll in themselves; the page does not.
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            parts = "[...document.querySelectorAll('.run, .compared, .plot')]"
            assert not page.evaluate(f"{parts}.filter(it => it.scrollWidth > it.clientWidth + 1).length")
            sizes = page.evaluate(
                "[...document.querySelectorAll('svg text')].map(it => it.getBoundingClientRect())"
                ".filter(box => box.height).map(box => box.height)"
            )
            assert min(sizes) > 7
            light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert light != dark


def test_services_are_shown_as_they_are_and_their_words_are_words(page, address):
    choose(page, address, "digits-1")
    page.until("!services.hidden")
    shown = words(page, "#services")
    for part in ("up for 2h00m, critical", "nissa is as it should be", "failed", "halt 10:00:00", server.HOSTILE):
        assert part in shown
    assert page.evaluate("document.title") == "Esper"
    assert not page.evaluate("document.querySelector('#services img, #services script')")


def test_runs_stand_side_by_side_with_their_verdicts_and_one_chart(page, address, runs):
    choose(page, address, "digits-1", "digits-2")
    tops = page.evaluate("[...document.querySelectorAll('.run')].map(it => it.getBoundingClientRect().top)")
    assert tops[0] == tops[1]
    expected = verdict_in_words(verdict(run_files.RunFiles(runs, "digits-1").result(grown=0.9)))
    assert words(page, ".run .verdict") in {
        expected,
        verdict_in_words(verdict(run_files.RunFiles(runs, "x").result(grown=1.0))),
    }
    page.until("document.querySelectorAll('.compared .u-wrap').length == 2")
    assert "digits-1" in words(page, ".compared .u-legend")
    page.evaluate("document.querySelector('.away').click()")
    page.until("document.querySelectorAll('.run').length == 1 && !document.querySelector('.compared')")
    assert page.evaluate("document.querySelectorAll('#runs input:checked').length") == 1


def test_a_gate_says_what_was_measured_its_threshold_and_the_verdict(page, address):
    choose(page, address, "digits-1")
    page.evaluate("document.querySelector('.gate[data-key=\"grown a-0 G2\"] summary').click()")
    said = page.until("document.querySelector('.gate[open]')?.innerText")
    for part in ("G2 passed: small enough", "Measured", "update ratio = 0.25", "max update ratio", "Asked at epoch 3."):
        assert part in said


def test_marks_and_curves_say_their_figures(page, address):
    choose(page, address, "digits-1")
    page.evaluate("document.querySelector('.mark.fossilized').focus()")
    assert "PROBATIONARY → FOSSILIZED" in words(page, "#tip")
    page.until("document.querySelectorAll('.plot .u-over').length")
    assert words(page, ".plot .u-legend") == "epochlatestgrown75.0 %twin60.0 %"
    page.evaluate("document.querySelector('.plot').scrollIntoView()")
    box = page.evaluate("document.querySelector('.plot .u-over').getBoundingClientRect().toJSON()")
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=box["x"] + 2, y=box["y"] + 20)
    page.until("document.querySelector('.plot .u-legend').textContent == 'epoch1grown30.0 %twin30.0 %'")


def test_it_can_be_used_with_the_keyboard_alone(page, address):
    choose(page, address, "digits-1")
    page.evaluate("document.querySelector('#find').focus()")
    page.press("Tab", code=9)
    assert page.evaluate("document.activeElement.type") == "checkbox"
    before = page.evaluate("document.activeElement.checked")
    page.press(" ", code=32, text=" ")
    page.until(f"document.activeElement.checked == {str(not before).lower()}")
    page.press(" ", code=32, text=" ")
    reached = set()
    for _ in range(80):
        page.press("Tab", code=9)
        found = "[document.activeElement.tagName, document.activeElement.getAttribute('class') || ''].join(' ').trim()"
        reached.add(page.evaluate(found))
    assert {"BUTTON away", "SUMMARY", "g mark fossilized", "DIV scroll"} <= reached
    page.evaluate("document.querySelector('.gate summary').focus()")
    page.press("Enter", code=13, text="\r")
    page.until("document.querySelector('.gate').open")


def test_what_is_written_is_shown_and_what_was_open_stays_open(page, address, runs):
    choose(page, address, "digits-0")
    page.evaluate(
        "document.querySelectorAll('[data-part=gates] > div > div > .gate:first-child').forEach(it => it.open = true)"
    )
    page.evaluate("document.querySelector('[data-part=stages] .mark').focus()")
    files = run_files.RunFiles(runs, "digits-0").short_life()
    for epoch in range(10, 13):
        files.epoch(epoch, {"a": run_files._A[9], "b": run_files._B[9]}, accuracy=0.99)
        files.write()
        page.until(f"document.querySelector('.run small').textContent == 'unfinished, {epoch + 1} of 10 epochs'")
    page.until("document.querySelector('.plot .u-legend').textContent.includes('99.0 %')")
    assert page.evaluate("document.querySelector('.gate').open")
    assert page.evaluate("document.activeElement.classList.contains('mark')")
    # The resume of a run cuts its log.
    files.events = files.events[:-2]
    files.write()
    page.until("document.querySelector('.run small').textContent == 'unfinished, 11 of 10 epochs'")


def test_what_a_run_says_is_text(page, address):
    choose(page, address, "hostile", "broken")
    assert page.evaluate("document.title") == "Esper"
    assert page.evaluate("document.querySelectorAll('img, main script, main style, main a, [onerror]').length") == 0
    assert HOSTILE in page.evaluate("[...document.querySelectorAll('.run h2')].map(it => it.textContent).join()")
    assert HOSTILE in page.evaluate("document.querySelector('[data-part=governor]').textContent")
    assert '"manifest.json" cannot be read' in page.evaluate("document.querySelector('.run.damaged').textContent")


def test_the_list_is_searched(page, address):
    choose(page, address, "digits-1")
    page.evaluate("document.querySelector('#find').value = 'digits-2'")
    page.evaluate("document.querySelector('#find').dispatchEvent(new Event('input'))")
    assert words(page, "#count") == "(1 of 5)"


@pytest.mark.parametrize(
    "attack",
    [
        "document.body.innerHTML = '<p>'",
        "document.body.appendChild(Object.assign(document.createElement('script'), {text: '1'}))",
        "document.querySelector('main').setAttribute('onclick', '1')",
        "built([['img', {src: 'x'}, []]])",
        "built([['p', {onclick: '1'}, []]])",
        "built([['p', {style: 'color: red'}, []]])",
    ],
)
def test_the_page_refuses_markup_made_of_texts(shared, address, attack):
    choose(shared, address, "digits-1")
    shared.complaints.clear()
    with pytest.raises(AssertionError, match=r"TypeError|Error: unexpected"):
        shared.evaluate(attack)


def test_what_breaks_the_policy_is_seen_here(shared, address):
    choose(shared, address, "digits-1")
    shared.complaints.clear()
    shared.evaluate("document.querySelector('main').setAttribute('style', 'color: red')")
    shared.evaluate("fetch('http://127.0.0.1:9/').catch(() => 0)")
    assert len(shared.complaints) >= 2
