"""The tables of names in the document, and what they say."""

import copy
import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[1] / "tools" / "wire_table.py"
_spec = importlib.util.spec_from_file_location("wire_table", _PATH)
wire_table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(wire_table)


def test_what_is_said_of_each_name_is_so():
    assert not list(wire_table.problems(wire_table.read_names()))


def test_the_document_is_up_to_date():
    text = wire_table.DOCUMENT.read_text()
    assert wire_table.with_tables(text, wire_table.tables(wire_table.read_names())) == text


@pytest.mark.parametrize(
    ("kind", "row", "name", "said"),
    [
        ("enum", "SeedLifecycleStage", "SHADOWING", ""),
        ("enum", "SeedLifecycleStage", "BLENDING", "reserved: x"),
        ("enum", "SeedOperation", "CULL", "FOSSILIZE: x"),
        ("message", "EmergencySignal", "payload_checksum", ""),
        ("message", "EmergencySignal", "reason", "reserved: x"),
        ("message", "FieldReport", "notes", "seeds.remark: x"),
        ("message", "AdaptationCommand", "version", "Envelope.version: x"),
    ],
)
def test_what_is_not_so_is_found(kind, row, name, said):
    names = copy.deepcopy(wire_table.read_names())
    next(it for it in names[kind] if it["name"] == row).setdefault("changes", {})[name] = said
    assert len(list(wire_table.problems(names))) == 1
