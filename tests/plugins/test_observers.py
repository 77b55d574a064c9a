import pytest

from esper_core.leyline.errors import EsperError
from esper_core.leyline.sites import SiteRequest
from esper_core.plugins.records import Status
from esper_core.plugins.selection import Selection

OBSERVER = """
from esper_core.hooks import hookimpl

ESPER_API = "2.0"
HEARD = []


@hookimpl
def esper_run_start(manifest):
    HEARD.append(("start", manifest))


@hookimpl
def esper_epoch_end(evidence):
    HEARD.append(("epoch", evidence))


@hookimpl
def esper_seed_transition(transition, host):
    HEARD.append(("transition", host, transition))


@hookimpl
def esper_run_finish():
    HEARD.append(("finish",))
"""

FAILING = OBSERVER.replace("HEARD.append", "raise ValueError")


def heard(name):
    import sys

    return sys.modules[f"esper_{name}.plugin"].HEARD


@pytest.fixture
def reported():
    return []


def run(observers):
    observers.run_start({"seed": 1})
    observers.epoch_end("host", "evidence")
    observers.seed_transition("host", "transition")
    observers.run_finish({"accuracy": 1.0})


ALL_OF_IT = [("start", {"seed": 1}), ("epoch", "evidence"), ("transition", "host", "transition"), ("finish",)]


def test_an_observer_hears_what_it_asks_for(install, load, reported):
    install("esper-ear", code=OBSERVER)
    run(load().observers({"ear"}, reported.append))
    assert heard("ear") == ALL_OF_IT
    assert reported == []


@pytest.mark.parametrize(
    ("selection", "used", "hears"),
    [
        (Selection(), set(), False),
        (Selection(), {"other"}, False),
        (Selection(), {"ear"}, True),
        (Selection(wanted=("auto", "esper-ear")), set(), True),
        (Selection(wanted=("all",)), set(), True),
    ],
)
def test_installing_an_observer_is_not_enough(install, load, reported, selection, used, hears):
    install("esper-ear", code=OBSERVER)
    plugins = load(selection)
    assert plugins.find("ear")[0].status is Status.ACTIVE
    run(plugins.observers(used, reported.append))
    assert bool(heard("ear")) is hears


class TestFailures:
    @pytest.fixture
    def observers(self, install, load, reported):
        install("esper-a-bad", code=FAILING)
        install("esper-b-ear", code=OBSERVER)
        install("esper-c-bad", code=FAILING.replace("ValueError", "SystemExit"))
        return load(Selection(wanted=("all",))).observers(set(), reported.append)

    def test_they_are_reported_and_counted_and_the_run_goes_on(self, observers, reported):
        observers.run_start({})
        observers.epoch_end("host", "evidence")
        observers.seed_transition("host", "transition")
        assert [error.code for error in reported] == ["E141"] * 6
        assert "ValueError" in reported[0].why
        assert "SystemExit" in reported[1].why
        assert "esper_a_bad/plugin.py:10" in reported[0].where
        assert observers.failures == {"a-bad": 3, "c-bad": 3}
        assert len(heard("b_ear")) == 3

    def test_all_finishers_run_and_their_failures_are_raised_together(self, observers, reported):
        with pytest.raises(ExceptionGroup) as raised:
            observers.run_finish({})
        assert [(type(error), error.code) for error in raised.value.exceptions] == [(EsperError, "E141")] * 2
        assert heard("b_ear") == [("finish",)]
        assert reported == []

    def test_the_report_may_end_the_run(self, install, load):
        install("esper-a-bad", code=FAILING)

        def refuse(error):
            raise error

        with pytest.raises(EsperError):
            load().observers({"a-bad"}, refuse).run_start({})


ADAPTER = """
from esper_core.api import SiteRequest
from esper_core.hooks import hookimpl

ESPER_API = "2.0"


@hookimpl
def esper_adapt_host(model):
    ANSWER
"""


class TestAdapters:
    @pytest.fixture(autouse=True)
    def adapters(self, install):
        install("esper-adapter-a", code=ADAPTER.replace("ANSWER", "return None"))
        install("esper-adapter-b", code=ADAPTER.replace("ANSWER", 'return [SiteRequest(path=f"{model}.b")]'))
        install("esper-adapter-c", code=ADAPTER.replace("ANSWER", 'yield SiteRequest(path=f"{model}.c")'))

    def test_the_first_answer_counts(self, load):
        sites, origin = load().adapt_host("net")
        assert sites == (SiteRequest(path="net.b"),)
        assert origin.plugin == "adapter-b"

    def test_the_users_order_decides(self, load):
        sites, origin = load(Selection(wanted=("adapter-c", "auto"))).adapt_host("net")
        assert (sites, origin.plugin) == ((SiteRequest(path="net.c"),), "adapter-c")

    def test_nobody_may_understand_the_model(self, load):
        assert load(Selection(wanted=("adapter-a",))).adapt_host("net") is None

    def test_a_failing_adapter_is_named(self, install, load):
        install("esper-adapter-0", code=ADAPTER.replace("ANSWER", "raise RuntimeError('no')"))
        with pytest.raises(EsperError, match="adapter-0") as raised:
            load().adapt_host("net")
        assert raised.value.code == "E141"


def test_tryfirst_is_honoured(install, load):
    install("esper-adapter-a", code=ADAPTER.replace("ANSWER", 'return [SiteRequest(path="a")]'))
    late = ADAPTER.replace("ANSWER", 'return [SiteRequest(path="b")]').replace("@hookimpl", "@hookimpl(tryfirst=True)")
    install("esper-adapter-b", code=late)
    assert load().adapt_host("net")[1].plugin == "adapter-b"
