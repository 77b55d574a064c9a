"""Values: what is kept exactly, what is refused, and what stands for a figure that is missing."""

from datetime import UTC, datetime
from enum import StrEnum
from math import inf, isnan, nan

import pytest
import torch
from attrs import frozen

from esper_core.leyline.actions import ActionMasks
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.evidence import Compute, EpochMetrics, Evidence, PairedDifference, SeedEvidence
from esper_core.leyline.layouts import Layout
from esper_core.leyline.learning import Decision
from esper_core.leyline.observation import LearningCurves
from esper_core.leyline.sites import Site
from esper_core.leyline.stages import Stage
from esper_leyline_proto.conversion import from_bytes, from_message, to_bytes, to_message
from esper_leyline_proto.kernels import KernelPrefetchRequest
from esper_leyline_proto.telemetry import MetricPoint, TelemetryBatch, TelemetryPacket
from esper_leyline_proto.v1 import telemetry_pb2, trajectory_pb2, value_pb2

AT = datetime(2026, 1, 1, tzinfo=UTC)
SEED = {"slot": "a", "seed_id": "s", "blueprint": "b", "epochs_in_stage": 0, "age_epochs": 0, "alpha": 0.0}


def there_and_back(record):
    return from_bytes(type(record), to_bytes(record))


def request(**parameters):
    return KernelPrefetchRequest(request_id="1", blueprint="b", parameters=parameters, issued_at=AT)


class TestFigures:
    def test_are_kept_to_the_last_bit(self):
        assert there_and_back(MetricPoint(name="a", value=0.1 + 0.2)).value == 0.1 + 0.2

    @pytest.mark.parametrize("value", [nan, inf, -inf])
    def test_that_are_not_finite_are_refused_where_they_are_no_result(self, value):
        with pytest.raises(EsperError, match="not a finite number") as caught:
            to_bytes(MetricPoint(name="a", value=value))
        assert (caught.value.code, caught.value.where) == ("E601", "MetricPoint.value")

    def test_that_are_not_finite_are_refused_when_they_are_read(self):
        message = to_message(MetricPoint(name="a", value=1.0))
        message.value = nan
        with pytest.raises(EsperError, match="not a finite number") as caught:
            from_message(MetricPoint, message)
        assert caught.value.code == "E602"

    def test_of_a_host_that_diverged_are_results(self):
        assert isnan(there_and_back(EpochMetrics(loss=nan, accuracy=0.1, samples=1)).loss)
        assert there_and_back(PairedDifference(mean=0.0, standard_error=inf, count=1)).standard_error == inf

    def test_an_accuracy_that_there_is_none_of_is_missing_on_the_wire(self):
        metrics = EpochMetrics(loss=1.0, accuracy=nan, samples=1)
        assert not to_message(metrics).HasField("accuracy")
        assert isnan(there_and_back(metrics).accuracy)

    def test_of_a_curve_may_be_missing(self):
        curves = LearningCurves(train_losses=(None, 1.0), validation_losses=(2.0, None))
        assert there_and_back(curves) == curves

    def test_of_a_curve_that_are_not_a_number_are_not_taken_for_missing(self):
        with pytest.raises(EsperError, match=r"train_losses\[1\]"):
            to_bytes(LearningCurves(train_losses=(1.0, nan)))

    def test_an_integer_without_an_exact_counterpart_is_refused(self):
        with pytest.raises(EsperError, match="no exact counterpart"):
            to_bytes(MetricPoint(name="a", value=2**53 + 1))


class TestMissing:
    def test_is_not_the_default(self):
        """The default of a part is 0, and None says that it cannot be counted."""
        assert there_and_back(Compute(training=None)).training is None
        assert there_and_back(Compute()).training == 0

    def test_zero_is_not_missing(self):
        seed = SeedEvidence(
            slot="a",
            seed_id="s",
            blueprint="b",
            stage=Stage.TRAINING,
            epochs_in_stage=0,
            age_epochs=0,
            alpha=0.0,
            bounded=0.0,
        )
        back = there_and_back(seed)
        assert back.bounded == 0.0
        assert back.update_ratio is None

    def test_an_empty_set_is_not_the_default(self):
        masks = ActionMasks(slots=(), blueprints=(), blends=())
        assert there_and_back(masks).blends == ()


class TestIntegers:
    def test_of_flops_have_no_limit_that_training_meets(self):
        assert there_and_back(Compute(training=10**27)).training == 10**27

    @pytest.mark.parametrize("text", ["", "1.5", "1e9", "--1", "٣", "9" * 61])
    def test_that_are_not_digits_are_refused(self, text):
        message = to_message(Compute())
        message.training = text
        with pytest.raises(EsperError, match="decimal digits"):
            from_message(Compute, message)

    def test_beyond_their_field_are_refused(self):
        with pytest.raises(EsperError, match="is not between 0 and"):
            to_bytes(PairedDifference(mean=0.0, standard_error=0.0, count=2**64))


class TestPlainData:
    def test_keeps_integers_numbers_and_truths_apart(self):
        back = there_and_back(request(a=1, b=1.0, c=True, d=None, e=2**70, f=[1, [2.5, {"g": "h"}]])).parameters
        assert back == {"a": 1, "b": 1.0, "c": True, "d": None, "e": 2**70, "f": [1, [2.5, {"g": "h"}]]}
        assert [type(back[name]) for name in "abc"] == [int, float, bool]

    @pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {1, 2}}, b"bytes", Stage.TRAINING])
    def test_is_nothing_else(self, value):
        with pytest.raises(EsperError, match=r"parameters\['p'\]") as caught:
            to_bytes(request(p=value))
        assert caught.value.code == "E601"

    def test_is_not_nested_so_deep_that_nobody_could_read_it(self):
        value = []
        for _ in range(23):
            value = {"a": value}
        events = (Event(kind=EventKind.NOTICE, data={"a": value}),)
        batch = TelemetryBatch(packets=(TelemetryPacket(id="1", issued_at=AT, source="s", events=events),))
        assert there_and_back(batch) == batch
        for deeper in ({"a": value}, {"a": [value]}):
            with pytest.raises(EsperError, match="nested more than 24 deep"):
                to_bytes(request(p=deeper))

    @pytest.mark.parametrize("value", [1.5, True, ["a"]])
    def test_of_a_field_that_takes_some_kinds_only_is_one_of_them(self, value):
        site = Site(id="a", path="a", layout=Layout.BD, width=1, sample_shape=(1,), output=value)
        with pytest.raises(EsperError, match="expected one of int, str"):
            to_bytes(site)

    def test_a_record_s_own_rule_is_the_message_s(self):
        message = to_message(Site(id="a", path="a", layout=Layout.BD, width=1, sample_shape=(1,)))
        message.id = "a.b"
        with pytest.raises(EsperError, match="a Site cannot be read"):
            from_message(Site, message)


class TestTensors:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
    @pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)], ids=str)
    def test_come_back_bit_for_bit(self, dtype, shape):
        tensor = torch.arange(6).reshape(2, 3).to(dtype) if shape == (2, 3) else torch.ones(shape, dtype=dtype)
        back = there_and_back(Decision(memo={"t": tensor.t() if shape == (2, 3) else tensor})).memo["t"]
        assert back.dtype == dtype
        assert torch.equal(back, tensor.t() if shape == (2, 3) else tensor)

    def test_of_another_type_are_refused(self):
        with pytest.raises(EsperError, match=r"tensors of torch.complex64 are not sent"):
            to_bytes(Decision(memo={"t": torch.ones(1, dtype=torch.complex64)}))

    @pytest.mark.parametrize(
        "change",
        [
            {"dtype": "C64"},
            {"data": b"123"},
            {"shape": [2**40]},
            {"shape": [0, 2**63], "data": b""},
            {"dtype": "BOOL", "shape": [2], "data": b"\x01\x02"},
        ],
    )
    def test_that_lie_about_themselves_are_refused(self, change):
        tensor = value_pb2.Tensor(**{"dtype": "F32", "shape": [1], "data": b"1234"} | change)
        message = trajectory_pb2.Decision(memo={"t": value_pb2.Value(tensor=tensor)})
        with pytest.raises(EsperError, match=r"memo\['t'\]"):
            from_message(Decision, message)


class TestWords:
    def test_of_an_enumeration_are_its_members_again(self):
        assert there_and_back(Event(kind=EventKind.NOTICE)).kind is EventKind.NOTICE

    def test_that_others_may_add_to_are_kept_as_they_are(self):
        Event = frozen(type("Event", (), {"__annotations__": {"kind": EventKind | str}}))  # noqa: N806
        assert there_and_back(Event("forge.kept")).kind == "forge.kept"
        assert there_and_back(Event(EventKind.NOTICE)).kind is EventKind.NOTICE

    def test_that_nobody_may_add_to_are_refused(self):
        Event = frozen(type("Event", (), {"__annotations__": {"kind": EventKind}}))  # noqa: N806
        with pytest.raises(EsperError, match=r"expected a EventKind, got str 'forge\.kept'"):
            to_bytes(Event("forge.kept"))
        with pytest.raises(EsperError, match=r"EventKind has no str 'forge\.kept'"):
            from_message(Event, telemetry_pb2.Event(kind="forge.kept"))


class TestPaths:
    def test_lead_to_the_value(self):
        metrics = EpochMetrics(loss=1.0, accuracy=1.0, samples=1)
        seed = SeedEvidence(**SEED, stage=3)
        evidence = Evidence(host="h", epoch=0, train=metrics, validation=metrics, seeds=(seed,))
        with pytest.raises(EsperError) as caught:
            to_bytes(evidence)
        assert caught.value.where == "Evidence.seeds[0].stage"
        assert caught.value.why == "expected a Stage, got int 3"

    def test_lead_to_a_record_of_another_class(self):
        difference = PairedDifference(mean=0.0, standard_error=0.0, count=1)
        with pytest.raises(EsperError, match="expected a EpochMetrics, got PairedDifference") as caught:
            to_bytes(Evidence(host="h", epoch=0, train=difference, validation=difference))
        assert caught.value.where == "Evidence.train"


def test_a_set_is_written_in_the_order_of_its_entries():
    names = [str(number) for number in range(9)]
    assert to_message(ActionMasks(slots=(), blueprints=(), cull=frozenset(names))).cull == names


class TestClassesThatAreNotInTheContract:
    def test_are_refused(self):
        @frozen
        class Stranger:
            a: int = 1

        with pytest.raises(TypeError, match="has no message Stranger"):
            to_bytes(Stranger())
        with pytest.raises(TypeError, match="is no attrs class"):
            to_bytes(3)

    def test_a_record_with_a_field_that_the_message_lacks_is_refused_and_not_sent_without_it(self):
        @frozen(kw_only=True)
        class MetricPoint:
            name: str
            more: int = 1

        with pytest.raises(TypeError, match="has no field for more"):
            to_bytes(MetricPoint(name="a"))

    def test_an_enumeration_with_other_members_is_refused(self):
        class Cause(StrEnum):
            ACTION = "action"

        Transition = frozen(type("Transition", (), {"__annotations__": {"cause": Cause}}))  # noqa: N806
        with pytest.raises(TypeError, match="have not the same members"):
            to_bytes(Transition(Cause.ACTION))

    @pytest.mark.parametrize("hint", [float, bytes, Stage, tuple[str, ...], datetime])
    def test_a_field_of_another_type_is_refused(self, hint):
        MetricPoint = frozen(type("MetricPoint", (), {"__annotations__": {"name": hint}}))  # noqa: N806
        with pytest.raises(TypeError, match="cannot hold"):
            to_bytes(MetricPoint("a"))
