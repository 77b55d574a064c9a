import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from esper_app.configuration.config import ComponentConfig, RunConfig
from esper_app.execution.machine import machine_facts
from esper_app.execution.manifest import RunFacts, build_manifest, plugin_entry
from esper_app.locks.provenance import installed_versions, provenance
from esper_core.leyline.records import to_json
from esper_core.leyline.specs import SinkSpec
from esper_core.plugins.records import Origin, PluginRecord, Registered, Status

SOURCE = {"acme_sink/__init__.py": "", "acme_sink/plugin.py": "x = 1\n", "acme_sink/sub/deep.py": "y = 2\n"}


def record_hash(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def install(place: Path, *, editable: bool, files: dict[str, str] = SOURCE) -> None:
    """Lay a distribution down as an installer would: as a wheel with its RECORD, or as a link to sources."""
    for path, text in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    info = place / "acme_sink-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-sink\nVersion: 1.2\nRequires-Dist: attrs>=20\n"
        'Requires-Dist: torch; extra == "all"\nRequires-Dist: not-there>=1\n'
    )
    lines = [f"{path},{record_hash(text)},{len(text)}" for path, text in files.items()]
    lines += ["acme_sink/__pycache__/plugin.cpython-311.pyc,,", "acme_sink-1.2.dist-info/INSTALLER,sha256=abc,4"]
    (info / "RECORD").write_text("\n".join(["acme.pth,sha256=zzz,1"] if editable else lines) + "\n")
    if editable:
        url = {"url": place.as_uri(), "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(url))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_wheel_comes_from_an_index_unless_its_installer_says_otherwise(site: Path) -> None:
    install(site, editable=False)
    assert provenance("acme-sink", "acme_sink.plugin").source is None


def test_a_wheel_has_the_digest_that_its_record_gives(site: Path) -> None:
    install(site, editable=False)
    expected = "".join(f"{path},{record_hash(text)}\n" for path, text in sorted(SOURCE.items()))
    digest = provenance("acme-sink", "acme_sink.plugin").digest
    assert digest == hashlib.sha256(expected.encode()).hexdigest()


@pytest.mark.parametrize("change", [lambda file: file.write_text("x = 2\n"), lambda file: file.unlink()])
def test_an_installed_file_that_somebody_changes_changes_the_digest(site: Path, change: Any) -> None:
    install(site, editable=False)
    before = provenance("acme-sink", "acme_sink.plugin").digest
    change(site / "acme_sink" / "plugin.py")
    assert provenance("acme-sink", "acme_sink.plugin").digest != before


def test_sources_and_the_wheel_made_of_them_have_the_same_digest(site: Path, tmp_path: Path) -> None:
    install(site, editable=True)
    linked = provenance("acme-sink", "acme_sink.plugin")
    assert linked.source is not None
    assert linked.source["dir_info"] == {"editable": True}
    expected = "".join(f"{path},{record_hash(text)}\n" for path, text in sorted(SOURCE.items()))
    assert linked.digest == hashlib.sha256(expected.encode()).hexdigest()


def test_changed_sources_change_the_digest(site: Path) -> None:
    install(site, editable=True)
    before = provenance("acme-sink", "acme_sink.plugin").digest
    (site / "acme_sink" / "sub" / "deep.py").write_text("y = 3\n")
    assert provenance("acme-sink", "acme_sink.plugin").digest != before


def test_a_one_file_plugin_is_known_by_its_content(tmp_path: Path) -> None:
    (file := tmp_path / "mine.py").write_text("a = 1")
    before = provenance("", "mine", str(file))
    assert (before.source, len(before.digest)) == (None, 64)
    file.write_text("a = 2")
    assert provenance("", "mine", str(file)).digest != before.digest


def test_versions_follow_requirements_but_no_extras(site: Path) -> None:
    install(site, editable=False)
    versions = installed_versions(["acme-sink"])
    assert versions["acme-sink"] == "1.2"
    assert versions["attrs"] == attrs.__version__
    assert "torch" not in versions
    assert "not-there" not in versions


def registered(origin: Origin) -> Registered:
    return Registered(SinkSpec(name="acme", summary="A.", factory="acme_sink.plugin:Sink"), origin)


ORIGIN = Origin(
    plugin="sink-acme",
    distribution="acme-sink",
    version="1.2",
    entry_point="acme_sink.plugin",
    module="acme_sink.plugin",
)


def test_an_entry_tells_what_was_used_and_nothing_of_code_that_never_ran(site: Path) -> None:
    install(site, editable=False)
    component = registered(ORIGIN)
    active = PluginRecord(status=Status.ACTIVE, origin=ORIGIN, components=(component,), api="1.0")
    entry = plugin_entry(active, [component])
    assert entry.used == ({"kind": "sink", "name": "acme"},)
    assert (entry.version, entry.entry_point, entry.status) == ("1.2", "acme_sink.plugin", Status.ACTIVE)
    assert len(entry.digest or "") == 64
    blocked = plugin_entry(PluginRecord(status=Status.BLOCKED, origin=ORIGIN), [], ["sink-acme"])
    assert (blocked.digest, blocked.used, blocked.observes) == (None, (), False)


@pytest.mark.parametrize(
    ("used", "observing", "binds"), [(True, [], True), (False, ["sink-acme"], True), (False, [], False)]
)
def test_the_digest_of_the_plugins_is_over_those_that_take_part(
    site: Path, used: bool, observing: list[str], binds: bool
) -> None:
    install(site, editable=True)
    component = registered(ORIGIN)
    facts = RunFacts(
        name="digits-1",
        directory=None,
        config=RunConfig(task=ComponentConfig(name="digits"), host=ComponentConfig(name="cnn")),
        plugins=[PluginRecord(status=Status.ACTIVE, origin=ORIGIN, components=(component,))],
        used=[component] if used else [],
        observing=observing,
        data={},
    )
    before = build_manifest(facts)["plugins_digest"]
    (site / "acme_sink" / "plugin.py").write_text("x = 3\n")
    assert (build_manifest(facts)["plugins_digest"] != before) is binds


def test_a_manifest_is_complete_plain_data(site: Path) -> None:
    install(site, editable=False)
    component = registered(ORIGIN)
    config = RunConfig(task=ComponentConfig(name="digits"), host=ComponentConfig(name="cnn"), seed=5)
    manifest = build_manifest(
        RunFacts(
            name="digits-1",
            directory=str(site),
            config=config,
            plugins=[PluginRecord(status=Status.ACTIVE, origin=ORIGIN, components=(component,))],
            used=[component],
            blueprints=[{"name": "noop", "options": {}}],
            data={"name": "digits", "sha256": "abc"},
            command=["esper", "run", "digits"],
        )
    )
    again: dict[str, Any] = json.loads(to_json(manifest))
    assert again == manifest
    assert (again["format"], again["seed"], again["config"]["host"]["name"]) == (1, 5, "cnn")
    assert again["core"]["distribution"] == "esper-core"
    assert {"esper-core", "torch", "acme-sink", "numpy"} <= set(again["packages"])
    assert again["data"] == {"name": "digits", "sha256": "abc"}
    assert again["command"] == ["esper", "run", "digits"]


def test_machine_facts_name_what_decides_about_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    facts = machine_facts()
    assert facts["torch"]["threads"] == torch.get_num_threads()
    assert facts["torch"]["version"] == torch.__version__
    assert facts["environment"]["OMP_NUM_THREADS"] == "1"
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
