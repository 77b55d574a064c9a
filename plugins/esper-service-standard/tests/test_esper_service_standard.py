"""What the standard services start, and what they make of what they find in their folder."""

import json

import pytest
from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_core.plugins.loader import load_plugins
from esper_service_standard.bus_server import BusServerService
from esper_service_standard.commands import CommandService, ForgeService
from esper_service_standard.config import BusServerConfig, CommandConfig, ForgeConfig, RunServiceConfig
from esper_service_standard.runs import RunService
from esper_weatherlight.api import Ending, Place


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "services" / "digits"
    folder.mkdir(parents=True)
    (tmp_path / "weatherlight").mkdir()
    supervised(tmp_path, "one")
    return Place(name="digits", state=tmp_path, folder=folder, bus="sqlite:", registry=load_plugins().registry)


def supervised(state, mark):
    (state / "weatherlight" / "supervisor.json").write_text(json.dumps({"mark": mark}))


class TestARun:
    @pytest.fixture
    def service(self, place):
        return self.made(place)

    @staticmethod
    def made(place, **more):
        return RunService(RunServiceConfig(task="digits", set=("epochs=3",), runs=str(place.state / "runs"), **more))

    @staticmethod
    def begun(place, name, *, checkpoint=False, outcome=None):
        run = place.state / "runs" / name
        (run / "checkpoints").mkdir(parents=True)
        (run / "manifest.json").write_text("{}")
        if checkpoint:
            (run / "checkpoints" / "epoch-0001.safetensors").touch()
        if outcome:
            (run / "result.json").write_text(json.dumps({"outcome": outcome, "hosts": {}}))
        return run

    def test_begins_with_a_name_of_the_service_on_the_machines_bus(self, service, place):
        words = [*service.start(place).command]
        assert words[3:5] == ["run", "digits"]
        assert words[words.index("--bus") + 1] == "sqlite:"
        assert {"epochs=3", 'name="digits-1"', f'runs="{place.state}/runs"'} <= {*words}
        assert not service.ready(place)
        assert service.runs(place) == ("digits-1",)

    def test_goes_on_from_a_checkpoint(self, service, place):
        service.start(place)
        run = self.begun(place, "digits-1", checkpoint=True)
        assert service.ready(place)
        assert [*service.start(place).command][3:] == ["run", "--resume", str(run)]

    def test_goes_on_when_it_was_interrupted(self, service, place):
        service.start(place)
        self.begun(place, "digits-1", checkpoint=True, outcome="interrupted")
        assert "--resume" in service.start(place).command

    def test_without_a_checkpoint_is_begun_again_beside_what_is_there(self, service, place):
        service.start(place)
        self.begun(place, "digits-1")
        assert 'name="digits-2"' in service.start(place).command
        assert service.runs(place) == ("digits-2",)

    def test_is_done_once_it_is_over_also_for_another_supervisor(self, service, place):
        service.start(place)
        self.begun(place, "digits-1", checkpoint=True, outcome="completed")
        supervised(place.state, "two")
        assert service.start(place) is None
        assert "completed" in service.health(place).summary

    def test_without_once_each_supervisor_begins_one(self, place):
        service = self.made(place, once=False)
        service.start(place)
        self.begun(place, "digits-1", checkpoint=True, outcome="completed")
        assert service.start(place) is None
        supervised(place.state, "two")
        assert 'name="digits-2"' in service.start(place).command

    def test_with_other_options_is_another_one(self, service, place):
        service.start(place)
        self.begun(place, "digits-1", checkpoint=True)
        assert 'name="digits-2"' in self.made(place, once=False).start(place).command

    def test_says_which_epoch_it_is_at_and_what_went_wrong(self, service, place):
        service.start(place)
        run = self.begun(place, "digits-1")
        lines = [{"kind": "epoch_completed", "epoch": 4}, {"kind": "notice"}]
        (run / "events.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"cut o')
        assert service.health(place).figures == {"epoch": 4.0}
        (run / "result.json").write_text(json.dumps({"outcome": "completed", "stopped": ["grown"], "hosts": {}}))
        assert service.health(place).status.name == "UNHEALTHY"

    def test_ends(self, service, place):
        endings = {code: service.ended(place, code) for code in (0, 6, 7, 1, 70, 130, -9, 2, 4)}
        assert {code for code, it in endings.items() if it is Ending.DONE} == {0, 6, 7}
        assert {code for code, it in endings.items() if it is Ending.HOPELESS} == {2, 4}

    def test_without_a_task_is_refused(self, place):
        for method in (RunService.check, RunService.start):
            with pytest.raises(EsperError, match="E202"):
                method(RunService(RunServiceConfig()), place)

    @pytest.mark.parametrize(
        ("options", "code", "said"),
        [
            ({"task": "digts"}, "E204", 'did you mean "digits"'),
            ({"set": ("epoch=3",)}, "E201", 'did you mean "epochs"'),
            ({"set": ("device=cudda",)}, "E202", "services.digits"),
            ({"config": "missing.toml"}, "E203", "missing.toml"),
        ],
    )
    def test_what_a_run_would_refuse_is_known_before_it_begins(self, place, options, code, said):
        with pytest.raises(EsperError, match=code) as refused:
            RunService(RunServiceConfig(**{"task": "digits", **options})).check(place)
        assert said in str(refused.value)

    def test_what_has_begun_goes_on_whatever_is_written_now(self, place):
        service = RunService(RunServiceConfig(task="digts", runs=str(place.state / "runs")))
        service.start(place)
        self.begun(place, "digits-1", checkpoint=True)
        service.check(place)

    def test_a_policy_may_come_later(self, place):
        RunService(RunServiceConfig(task="digits", set=("policy.saved=later",))).check(place)


class TestACommand:
    def test_knows_the_bus_and_the_folders(self, place):
        config = CommandConfig(command=("sh", "-c", "echo {bus} {{}}"), environment={"WHERE": "{folder}"})
        launch = CommandService(config).start(place)
        assert [*launch.command] == ["sh", "-c", "echo sqlite: {}"]
        assert launch.environment == {"WHERE": str(place.folder)}

    @pytest.mark.parametrize("words", [(), ("echo", "{bsu}"), ("echo", "{"), ("echo", "{}")])
    def test_is_refused_where_it_means_nothing(self, place, words):
        for method in (CommandService.check, CommandService.start):
            with pytest.raises(EsperError, match="E202"):
                method(CommandService(CommandConfig(command=words)), place)

    def test_is_ready_when_its_file_is_there_again(self, place):
        file = place.folder / "ready"
        file.touch()
        service = CommandService(CommandConfig(command=("true",), ready_file=str(file)))
        service.start(place)
        assert not service.ready(place)
        file.touch()
        assert service.ready(place)

    def test_an_end_is_a_failure_unless_it_is_to_end(self, place):
        assert CommandService(CommandConfig(command=("true",))).ended(place, 0) is Ending.AGAIN
        assert CommandService(CommandConfig(command=("true",), ends=True)).ended(place, 0) is Ending.DONE

    def test_the_forge_is_one_that_waits(self, place):
        words = [*ForgeService(ForgeConfig(store="local:x")).start(place).command]
        assert words[3:] == ["forge", "run", "--wait", "--bus", "sqlite:", "--timeout", "600", "--store", "local:x"]


class TestTheServerOfABus:
    @pytest.mark.parametrize("scheme", ["redis", "nats"])
    def test_has_the_same_address_each_time(self, place, scheme, tmp_path_factory):
        place = evolve(place, folder=tmp_path_factory.mktemp("s"))
        service = BusServerService(BusServerConfig(scheme=scheme))
        address = service.address(place)
        assert BusServerService(BusServerConfig(scheme=scheme)).address(place) == address
        assert not service.ready(place)
        assert service.start(place).command

    @pytest.mark.parametrize(("scheme", "code"), [("sqlite", "E202"), ("rediss2", "E204")])
    def test_is_refused_where_there_is_none(self, place, scheme, code):
        with pytest.raises(EsperError, match=code):
            BusServerService(BusServerConfig(scheme=scheme)).address(place)

    def test_is_refused_where_a_socket_could_not_be(self, place):
        place = evolve(place, folder=place.folder / ("long" * 30))
        with pytest.raises(EsperError, match="shorter --state"):
            BusServerService(BusServerConfig()).address(place)
