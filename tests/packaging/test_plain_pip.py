"""What users get: wheels that hold what they should, and that plain pip makes a working `esper` of."""

import json
import tomllib
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))


@pytest.fixture
def wheel(request, wheels):
    (found,) = wheels.glob(f"{request.param.replace('-', '_')}-*.whl")
    with ZipFile(found) as opened:
        yield opened


def folder_of(name):
    return ROOT if name == "esper-core" else ROOT / "plugins" / name


def project_of(name):
    return tomllib.loads((folder_of(name) / "pyproject.toml").read_text())["project"]


#: Those that are plugins; the others are imported, or commands.
FOUND = [name for name in PLUGINS if "esper" in project_of(name).get("entry-points", {})]

#: Those that offer kinds of components; they come with what needs them.
KINDS = {name for name in PLUGINS if "esper.kinds" in project_of(name).get("entry-points", {})}


def sources_of(name):
    package = name.replace("-", "_")
    parent = ROOT if name == "esper-core" else folder_of(name) / "src"
    files = [path for path in (parent / package).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(parent).as_posix() for path in files}


def name_of(wheel):
    return Path(wheel.filename).name.partition("-")[0].replace("_", "-")


every_wheel = pytest.mark.parametrize("wheel", ["esper-core", *PLUGINS], indirect=True)


@every_wheel
def test_a_wheel_holds_the_package_and_nothing_else(wheel):
    files = {entry for entry in wheel.namelist() if not entry.endswith("/") and ".dist-info/" not in entry}
    assert files == sources_of(name_of(wheel))
    assert f"{name_of(wheel).replace('-', '_')}/py.typed" in files
    assert not [entry for entry in files if "/tests/" in entry or Path(entry).name.startswith("test_")]


@every_wheel
def test_a_wheel_says_what_it_is(wheel):
    project = project_of(name_of(wheel))
    (metadata,) = [entry for entry in wheel.namelist() if entry.endswith(".dist-info/METADATA")]
    head = message_from_bytes(wheel.read(metadata))
    assert (head["Name"], head["Version"]) == (project["name"], project["version"])
    assert (head["Requires-Python"], head["License-Expression"]) == (project["requires-python"], project["license"])
    required = {Requirement(line) for line in head.get_all("Requires-Dist") or () if "extra ==" not in line}
    assert required == set(map(Requirement, project["dependencies"]))
    readme = folder_of(name_of(wheel)) / project["readme"]
    assert head.get_payload(decode=True).decode().strip() == readme.read_text().strip()


@pytest.mark.parametrize("wheel", FOUND, indirect=True)
def test_a_wheel_announces_its_plugin(wheel):
    (entry_points,) = [entry for entry in wheel.namelist() if entry.endswith(".dist-info/entry_points.txt")]
    ((plugin, module),) = project_of(name_of(wheel))["entry-points"]["esper"].items()
    assert wheel.read(entry_points).decode().split("\n\n")[0].split("\n")[:2] == ["[esper]", f"{plugin} = {module}"]


def test_one_plugin_brings_the_core_and_no_other_plugin(with_one_plugin):
    assert with_one_plugin == {"esper-blueprint-noop": "active"}


def test_all_standard_plugins_are_active(standard):
    required = {requirement.name for requirement in map(Requirement, project_of("esper-standard")["dependencies"])}
    records = standard.plugins()
    assert set(records) - KINDS == required & set(FOUND)
    assert [record for record in records.values() if record["status"] != "active" or record["problem"]] == []
    outside = [record["file"] for record in records.values() if not record["file"].startswith(str(standard.folder))]
    assert not outside, f"these came from elsewhere: {outside}"


def test_the_requirements_fit_together(standard):
    assert "No broken requirements" in standard.pip("check")


def test_the_demo_runs(standard):
    output = standard.esper("run", "digits", "--set", "epochs=8")
    assert "test accuracy" in output
    result = json.loads((standard.work / "runs" / "digits-1" / "result.json").read_text())
    assert result["outcome"] == "completed"
    assert set(result["hosts"]) == {"grown", "twin", "control"}
    assert result["seeds"], "no seed was germinated"


@pytest.mark.parametrize("name", FOUND)
def test_a_plugin_works_alone_with_the_core(alone, name):
    # One that offers a kind of components is listed for it as well.
    found = [it for it in alone[name] if it["distribution"] == name]
    assert [(it["status"], it["problems"]) for it in found] == [("active", [])] * (1 + (name in KINDS))
    assert any(it["offers"] for it in found)


@pytest.mark.parametrize("leaning_on", ["esper_sink_jsonl.sink", "esper_not_there"])
def test_a_plugin_that_leans_on_another_does_not_work_alone(solo, install, site, leaning_on):
    install("esper-blueprint-leaning", files={"module.py": f"import {leaning_on}\nUpdate = {leaning_on}\n"})
    _, (plugin,) = solo.seen_from(solo.folder / "esper-sink-jsonl", site)
    assert plugin["status"] == "active"
    assert [problem for problem in plugin["problems"] if leaning_on.partition(".")[0] in problem]
