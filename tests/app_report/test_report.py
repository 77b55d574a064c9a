"""`esper report`: one HTML file whose figures are those of the runs, and in which nothing that a run says is code."""

import copy
import hashlib
import json
import math
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pytest
from attrs import define, field
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_core.leyline.actions import GovernorMode, Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_core.leyline.evidence import GateResult
from esper_core.leyline.printable import UNPRINTABLE
from esper_core.leyline.reports import RewardBreakdown
from esper_core.leyline.stages import GateLevel, Stage
from esper_runs import statistics
from esper_runs.comparison import comparison
from esper_runs.formatting import loss, percent, whole
from esper_runs.missing_data import missing_data
from esper_runs.run_directory import RunDirectory
from esper_runs.run_groups import WITHOUT_SCIPY
from esper_runs.run_record import read_run_record
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

#: Elements that hold nothing and have no end.
VOID = {"meta", "link"}

#: Every element that a report may hold; none of them loads anything or sends anything.
EXPECTED = re.compile(
    "html|head|meta|link|title|style|body|header|nav|main|section|article|div|h[123]|small|a|p|dl|dt|dd|details|summary"
    "|table|caption|thead|tbody|tr|th|td|figure|figcaption|svg|path|line|rect|circle|g|text|ul|li|script"
)


@define
class Node:
    name: str
    attributes: dict[str, str]
    children: list = field(factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, name: str):
        for child in self.children:
            if isinstance(child, Node):
                if child.name == name:
                    yield child
                yield from child.all(name)


class Strict(HTMLParser):
    """Builds a tree, and refuses elements that are not closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.attributes = [Node("", {})], set(), set()

    def handle_starttag(self, name, attributes):
        node = Node(name, {key: value or "" for key, value in attributes})
        self.seen.add(name)
        self.attributes |= node.attributes.keys()
        self.open[-1].children.append(node)
        if name not in VOID:
            self.open.append(node)

    def handle_endtag(self, name):
        assert self.open.pop().name == name

    def handle_data(self, data):
        self.open[-1].children.append(data)


def parsed(page: str) -> Node:
    """Return the tree of a page after the checks that hold for every report."""
    parser = Strict()
    parser.feed(page)
    parser.close()
    (root,) = parser.open
    assert not [name for name in parser.seen if not EXPECTED.fullmatch(name)]
    assert not {name for name in parser.attributes if name.startswith("on") or name in ("src", "style", "srcset")}
    assert not UNPRINTABLE.search(page)
    assert len([*root.all("script")]) == len([*root.all("style")]) == 1
    assert {node.attributes["href"][:1] for node in root.all("a")} <= {"#"}
    return root


def tables(root: Node) -> dict[str, list[list[str]]]:
    """Return the cells of every table, headers first, by caption."""
    return {
        next(table.all("caption")).text: [
            [cell.text for cell in row.children] for row in [*table.all("tr")] if isinstance(row, Node)
        ]
        for table in root.all("table")
    }


@pytest.fixture
def report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0, output: str = "report.html"):
        done = CliRunner().invoke(cli, ["report", *arguments, "--output", output])
        assert done.exit_code == code, done.output
        return Path(output).read_text(encoding="utf-8") if code == 0 else done.stderr

    return run


def eventful(files):
    """A short life with everything else that a log may hold."""
    files.short_life()
    for epoch in range(3):
        files.event(EventKind.REWARD_COMPUTED, RewardBreakdown(terms={"gain": 0.5 * epoch, "rent": -0.1}), epoch=epoch)
        data = files.events[-1].data
        data["total"] = sum(data["terms"].values())
    files.denial(8, "it is too late")
    files.event(
        EventKind.GOVERNOR_INTERVENED, {"mode": GovernorMode.CONSERVATIVE, "reason": "the loss jumped"}, epoch=8
    )
    files.event(EventKind.PLUGIN_FAILED, {"plugin": "mine", "place": "sense", "error": "it broke"}, epoch=8)
    files.event(EventKind.NOTICE, {"message": "look here"}, host="", epoch=None)
    return files


@pytest.fixture
def files(make_run):
    return eventful(make_run())


class TestContent:
    def test_figures_are_those_of_the_result(self, files, report):
        result = files.result(grown=0.91234, twin=0.80001)
        files.write(result=result)
        root = parsed(report("digits-1"))
        shown = tables(root)
        assert shown["measured after the last epoch"][1:] == [list(row) for row in comparison(result).texts]
        rows = {row[1]: row for row in shown["networks on digits"][1:]}
        for name, host in result["hosts"].items():
            expected = [percent(host["test_accuracy"]), loss(host["test_loss"]), whole(host["parameters"])]
            assert rows[name][2:5] == expected
        assert f"91.2 %, {whole(1030)} parameters" in " ".join(
            node.attributes["aria-label"] for node in root.all("circle")
        )

    def test_figures_of_epochs_are_those_of_the_log(self, files, report):
        files.write(result=files.result())
        root = parsed(report("digits-1"))
        record = read_run_record(RunDirectory(files.path))
        rows = tables(root)["grown, epoch by epoch"][1:]
        for row, grown, twin in zip(rows, record.epochs["grown"], record.epochs["twin"], strict=True):
            assert row[:3] == [
                str(grown["epoch"] + 1),
                percent(grown["validation"]["accuracy"]),
                percent(twin["validation"]["accuracy"]),
            ]
        lines = {
            (p.attributes["class"], p.attributes["data-title"]): p.attributes
            for p in root.all("path")
            if "data-y" in p.attributes
        }
        assert lines["line grown", "grown"]["data-y"]

    def test_the_verdict_is_the_one_that_every_page_prints(self, files, report):
        result = files.result()
        files.write(result=result)
        root = parsed(report("digits-1"))
        assert verdict_in_words(verdict(result)) in [node.text for node in root.all("p")]

    def test_what_happened_stands_in_tables_and_marks(self, files, report):
        files.write(result=files.result())
        root = parsed(report("digits-1"))
        shown = tables(root)
        history = str(shown["what happened, and why"])
        for words in (
            "TRAINING → BLENDING",
            "it did not learn",
            "too late",
            "the loss jumped",
            "look here",
            "it broke",
        ):
            assert words in history
        gates = {(row[0], row[1]): row for row in shown["the latest verdict of each gate"][1:]}
        assert gates["b-0", "G2"][2:5] == ["4–6", "0", "3"]
        assert "update ratio = 5" in gates["b-0", "G2"][6]
        assert gates["a-0", "G2"][3] == "1"
        decisions = shown["what the policy asked for, and why"]
        assert ["3", "germinate", "a", "conv-light", "-", "it underfits", ""] in decisions
        assert ["8", "fossilize", "a", "-", "0.900", "it has passed", ""] in decisions
        governor = str(shown["interventions and denials"])
        assert "the governor is conservative: the loss jumped" in governor
        assert "too late" in governor
        assert shown["reward of grown, term by term"][3] == ["3", "+1.000", "-0.100", "+0.900"]
        marks = [node.attributes["aria-label"] for node in root.all("g")]
        assert any("PROBATIONARY → FOSSILIZED" in words for words in marks)
        assert any("the governor denied" in words for words in marks)
        assert {"stage-training", "stage-fossilized"} <= {node.attributes.get("class") for node in root.all("rect")}

    def test_what_is_missing_is_said(self, files, report):
        path = files.write()
        (path / "events.jsonl").unlink()
        text = parsed(report("digits-1")).text
        for sentence in missing_data(files.manifest(), None, None):
            assert sentence in text
        for words in (
            "Stages are not known",
            "The run has no result yet",
            "No network was measured",
            "No reward is in the log",
        ):
            assert words in text

    def test_a_figure_that_is_not_finite_leaves_a_gap(self, make_run, report):
        files = make_run()
        for epoch, value in enumerate((1.0, math.nan, 0.5, math.inf, 0.25)):
            files.epoch(epoch, {"a": Stage.DORMANT}, loss=value)
        files.write()
        root = parsed(report("digits-1"))
        paths = [p.attributes for p in root.all("path") if "|NaN|" in p.attributes.get("data-y", "")]
        assert [p["data-y"] for p in paths] == ["1.000|NaN|0.500|inf|0.250"] * 2
        assert all(p["d"].count("M") == 3 and "NaN" not in p["d"] and "inf" not in p["d"] for p in paths)

    def test_the_last_of_several_rounds_is_shown(self, make_run, report):
        files = make_run()
        for number in range(2):
            for epoch in range(3):
                files.epoch(epoch, {"a": Stage.DORMANT}, accuracy=0.1 + number / 2)
        files.write()
        root = parsed(report("digits-1"))
        assert [row[1] for row in tables(root)["grown, epoch by epoch"][1:]] == ["60.0 %"] * 3
        assert "The log holds 2 rounds" in root.text


class TestSeveralRuns:
    def test_they_are_compared_by_seed(self, make_run, report):
        for policy in ("heuristic", "random"):
            for seed in range(3):
                files = make_run(f"{policy}-{seed}").short_life()
                result = files.result(grown=0.8 + seed / 50 + (policy == "random") / 20, twin=0.7)
                files.write(files.manifest(seed=seed, config={"policy": {"name": policy}}), result)
        root = parsed(report(*(f"{policy}-{seed}" for policy in ("heuristic", "random") for seed in range(3))))
        rows = {(row[0], row[1]): row[2:] for row in tables(root)["differences, paired by random seed"][1:]}
        assert rows["random - heuristic", "test accuracy"][:2] == ["3", "+5.0 points"]
        assert [node.text for node in root.all("h1")] == ["Esper: 6 runs"]
        germinated = {row[0]: row[2] for row in tables(root)["blueprints, over all runs of this report"][1:]}
        assert germinated["conv-light"] == "0"  # the results list no seed

    def test_without_scipy_it_says_so(self, make_run, report, monkeypatch):
        def missing():
            raise EsperError("E190", "scipy is not installed")

        monkeypatch.setattr(statistics, "_scipy", missing)
        for name in ("a", "b"):
            files = make_run(name)
            files.write(files.manifest(seed=ord(name)), files.result())
        assert WITHOUT_SCIPY in parsed(report("a", "b")).text

    def test_runs_of_one_name_are_told_apart(self, make_run, report, tmp_path):
        for folder in ("x", "y"):
            files = make_run(runs=tmp_path / folder)
            files.write(result=files.result())
        names = [node.text for node in parsed(report("x/digits-1", "y/digits-1")).all("h2")]
        assert any(name.startswith("x/digits-1") for name in names)
        assert any(name.startswith("y/digits-1") for name in names)

    def test_five_runs_of_forty_epochs_are_below_500_kilobytes(self, make_run, report):
        for number in range(5):
            files = make_run(f"run-{number}")
            files.event(EventKind.RUN_STARTED, files.manifest(), host="")
            for epoch in range(40):
                busy(files, epoch)
            files.write(files.manifest(seed=number), files.result())
        page = report(*(f"run-{number}" for number in range(5)))
        parsed(page)
        assert 100_000 < len(page.encode()) <= 500_000


def busy(files, epoch: int) -> None:
    """An epoch of four slots, in each of which something happens all the time."""
    slots = [f"block{number}" for number in range(4)]
    evidence = {"contribution_nats": 0.1 + epoch, "contribution_standard_error": 0.01, "contribution_samples": 100}
    evidence |= {f"figure_number_{n}": 0.123456789 * n for n in range(6)}
    gate = GateResult(gate=GateLevel.G3, passed=bool(epoch % 3), reason=f"contribution {epoch}", evidence=evidence)
    files.epoch(epoch, dict.fromkeys(slots, Stage.DORMANT), host="twin", accuracy=epoch / 40)
    files.action(Op.WAIT, epoch, reason=f"reason {epoch} " * 5)
    slot = slots[epoch % 4]
    files.transition(slot, Stage.TRAINING, Stage.BLENDING, epoch, number=epoch // 4, gates=(gate,))
    files.epoch(epoch, dict.fromkeys(slots, Stage.BLENDING), gates={slot: (gate,)}, accuracy=epoch / 40)
    terms = {f"term-{n}": 0.1 * n - epoch / 100 for n in range(8)}
    files.event(EventKind.REWARD_COMPUTED, {"terms": terms, "total": sum(terms.values())}, epoch=epoch)


class TestThePage:
    def test_it_may_load_nothing_and_run_its_own_script_alone(self, files, report):
        files.write()
        root = parsed(report("digits-1"))
        policy = next(n for n in root.all("meta") if n.attributes.get("http-equiv") == "Content-Security-Policy")
        rules = dict(rule.strip().split(" ", 1) for rule in policy.attributes["content"].split(";"))
        assert rules.pop("default-src") == "'none'"
        for kind in ("script", "style"):
            content = next(root.all(kind)).text
            assert (
                rules.pop(f"{kind}-src") == f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
            )
        assert rules == {"img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}

    def test_it_names_no_place_in_a_network(self, files, report):
        files.write(result=files.result())
        assert not re.search(r"https?:|[\"'(]//", report("digits-1"))

    def test_an_earlier_report_is_replaced_and_nothing_else(self, files, report, tmp_path):
        files.write(result=files.result())
        report("digits-1")
        report("digits-1")
        (tmp_path / "mine.html").write_text("<p>mine")
        assert "error[E501]" in report("digits-1", output="mine.html", code=2)
        assert (tmp_path / "mine.html").read_text() == "<p>mine"
        (tmp_path / "link.html").symlink_to(tmp_path / "mine.html")
        assert "error[E501]" in report("digits-1", output="link.html", code=2)
        assert "error[E501]" in report("digits-1", output="no/folder/report.html", code=2)

    def test_a_run_that_is_not_there_is_an_error(self, report):
        assert "error[E505]" in report("nowhere", code=2)

    def test_long_texts_and_tables_are_shortened_and_say_so(self, make_run, report):
        files = make_run()
        for epoch in range(900):
            files.event(EventKind.NOTICE, {"message": f"{epoch} " + "x" * 9_000}, epoch=epoch)
        files.write()
        text = parsed(report("digits-1")).text
        assert re.search(r"x… \(8,\d{3} more characters\)", text)
        assert "500 further rows are left out." in text


HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\x00\x1b[2J\u202e\ud800]]>-->"
ODD = (HOSTILE, "NaN", None, True, -1, 10**18, 1e308, [], {}, [HOSTILE], {HOSTILE: HOSTILE})


def leaves(value, path=()):
    """Yield the path of every value in plain data that holds no other."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner:
        yield path
    for key, below in inner:
        yield from leaves(below, (*path, key))


def changed(tree, path, value):
    tree = copy.deepcopy(tree)
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return tree


@pytest.fixture
def written(files):
    seeds = [{"host": it.host, **it.data} for it in files.events if it.kind is EventKind.SEED_FINISHED]
    files.write(result=files.result(seeds=seeds))
    events = [json.loads(line) for line in (files.path / "events.jsonl").read_text().splitlines()]
    kinds = {}
    for event in events:
        # One event of each kind and target is enough: the rest have the same fields.
        kinds.setdefault((event["kind"], event["host"], event["data"].get("target"), event["data"].get("op")), event)
    return files, events, [events.index(event) for event in kinds.values()]


class TestHostileRuns:
    def test_every_text_at_once(self, written, report):
        files, events, _ = written
        named = {event["host"] for event in events} | {"conv-light", "a", "b", "a-0", "b-0", "heuristic"}
        text = (files.path / "events.jsonl").read_text()
        for name in (
            "it underfits",
            "because",
            "it may",
            "small enough",
            "it did not learn",
            "the loss jumped",
            "mine",
        ):
            text = text.replace(f'"{name}"', json.dumps(HOSTILE))
        for name in sorted(named - {""}):
            text = text.replace(f'"{name}"', json.dumps(name + HOSTILE))
        (files.path / "events.jsonl").write_text(text)
        (files.path / "result.json").unlink()
        root = parsed(report("digits-1"))
        assert "<script>alert(1)</script>" in root.text  # as text
        assert "conv-light</script>" in root.text

    @pytest.mark.slow
    def test_every_field_of_every_kind_of_file(self, written, report):
        files, events, chosen = written
        tried = shown = 0
        for name in ("manifest.json", "result.json"):
            whole = json.loads((files.path / name).read_text())
            for number, path in enumerate(leaves(whole)):
                odd = ODD[number % len(ODD)]
                for value in {repr(it): it for it in (HOSTILE, odd)}.values():
                    (files.path / name).write_text(json.dumps(changed(whole, path, value)))
                    tried, shown = tried + 1, shown + self._answers(report)
            (files.path / name).write_text(json.dumps(whole))
        for index in chosen:
            for number, path in enumerate(leaves(events[index])):
                lines = [json.dumps(event) for event in events]
                for value in {repr(it): it for it in (HOSTILE, ODD[number % len(ODD)])}.values():
                    lines[index] = json.dumps(changed(events[index], path, value))
                    (files.path / "events.jsonl").write_text("\n".join(lines) + "\n")
                    tried, shown = tried + 1, shown + self._answers(report)
        assert tried > 300
        assert shown > tried / 2

    @staticmethod
    def _answers(report) -> bool:
        """A page that holds nothing of the run's as code, or an error with a code."""
        done = CliRunner().invoke(cli, ["report", "digits-1", "--output", "odd.html"])
        assert not UNPRINTABLE.search(done.output)
        if done.exit_code:
            assert re.search(r"error\[E50\d\]", done.output), done.output
            return False
        parsed(Path("odd.html").read_text(encoding="utf-8"))
        return True
