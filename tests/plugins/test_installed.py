"""What is installed is what `importlib.metadata` says, but for what is damaged."""

import importlib
import json
import sys
import zipfile
from importlib.metadata import Distribution, DistributionFinder, PathDistribution, distributions, entry_points
from pathlib import Path

import pytest

from esper_core.leyline.errors import EsperError
from esper_core.plugins.installed import canonical, scan
from esper_core.plugins.records import Status

UTF_16 = "[console_scripts]\nlegacy = legacy:main\n".encode("utf-16")


def metadata_folder(site: Path, name: str, version: str = "1.0", *, head: str = "", **files: bytes) -> Path:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{head}")
    for file, content in files.items():
        (folder / f"{file}.txt").write_bytes(content)
    return folder


def plugin(module: str) -> bytes:
    return f"[esper]\nplugin = {module}\n".encode()


def told(path: list[str] | None = None, group: str = "esper") -> list[tuple[str, str, str]]:
    found = [entry for it in scan(path).offering for entry in it.entry_points(group)]
    return sorted((it.name, it.value, it.distribution.metadata.name) for it in found)


class TestItAgreesWithTheLibrary:
    @pytest.mark.parametrize("group", ["esper", "esper.commands", "esper.kinds"])
    def test_about_the_entry_points_here(self, install, group):
        install("esper-blueprint-foo")
        assert told(group=group) == sorted((it.name, it.value, it.dist.name) for it in entry_points(group=group))
        assert told() != []

    def test_about_the_metadata_of_everything_here(self):
        compared = 0
        installed = scan()
        for theirs in distributions():
            ours = installed.find(theirs.name)
            if ours.folder != str(getattr(theirs, "_path", None)):  # another one of this name goes before it
                continue
            name, version, summary, requires = ours.metadata
            assert (name, version, requires) == (theirs.name, theirs.version, tuple(theirs.requires or ()))
            assert summary == (theirs.metadata.get("Summary") or "")
            compared += 1
        assert compared > 30

    def test_about_what_shadows_what(self, tmp_path, monkeypatch):
        metadata_folder(tmp_path / "first", "Esper_Twice", "2.0", entry_points=plugin("second"))
        metadata_folder(tmp_path / "second", "esper-twice", "1.0", entry_points=plugin("first"))
        monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])
        importlib.invalidate_caches()
        assert [(it.name, it.value) for it in entry_points(group="esper")] == [("plugin", "second")]
        assert told() == [("plugin", "second", "Esper_Twice")]
        assert scan().find("esper.twice").metadata.version == "2.0"

    def test_a_distribution_without_entry_points_shadows_one_that_has_them(self, tmp_path):
        metadata_folder(tmp_path / "first", "esper-twice", "2.0")
        metadata_folder(tmp_path / "second", "esper-twice", "1.0", entry_points=plugin("first"))
        assert told([str(tmp_path / "first"), str(tmp_path / "second")]) == []

    def test_about_zip_files(self, tmp_path, monkeypatch):
        archive = tmp_path / "plugins.zip"
        with zipfile.ZipFile(archive, "w") as writing:
            writing.writestr(
                "esper_zipped-1.0.dist-info/METADATA", "Name: esper-zipped\nVersion: 1.0\nSummary: Small.\n"
            )
            writing.writestr("esper_zipped-1.0.dist-info/entry_points.txt", plugin("zipped"))
        monkeypatch.syspath_prepend(archive)
        importlib.invalidate_caches()
        assert ("plugin", "zipped", "esper-zipped") in told()
        assert scan().find("esper-zipped").metadata.summary == "Small."

    def test_about_other_finders(self, tmp_path, monkeypatch):
        class Elsewhere(DistributionFinder):
            def find_spec(self, *_):
                return None

            def find_distributions(self, context=DistributionFinder.Context()):  # noqa: B008
                return [PathDistribution(metadata_folder(tmp_path, "esper-elsewhere", entry_points=plugin("far")))]

        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Elsewhere()])
        assert ("plugin", "far", "esper-elsewhere") in told()


def test_the_rules_of_the_file_are_kept(tmp_path):
    text = b"\xef\xbb\xbf# ours\r\n[esper]\r\n  one=a.b \r\n; not\xc3\xa9 = x\r\n\r\n[other]\r\ntwo = c\r\n"
    text += b"[esper.kinds]\nbus = d:E [x]\n"
    metadata_folder(tmp_path, "esper-odd", entry_points=text)
    assert told([str(tmp_path)]) == [("; noté", "x", "esper-odd"), ("one", "a.b", "esper-odd")]
    assert told([str(tmp_path)], "esper.kinds") == [("bus", "d:E [x]", "esper-odd")]


def test_what_is_no_text_on_the_path_is_passed_over(tmp_path, monkeypatch):
    metadata_folder(tmp_path, "esper-odd", entry_points=plugin("odd"))
    monkeypatch.setattr(sys, "path", [tmp_path, None, "", str(tmp_path / "missing")])
    assert told() == []
    monkeypatch.chdir(tmp_path)
    assert told() == [("plugin", "odd", "esper-odd")]


class BackportFinder:
    """As `importlib_metadata` puts one beside Python's own where anything imports it."""

    __module__ = "importlib_metadata"

    def find_spec(self, name, path=None, target=None):
        return None

    def find_distributions(self, context):
        raise AssertionError("the same folders are read again")


class OddFinder(BackportFinder):
    __module__ = "odd"

    def find_distributions(self, context):
        class Lost(Distribution):
            def locate_file(self, path):
                return path

            def read_text(self, file):
                return None

            @property
            def metadata(self):
                raise FileNotFoundError("no metadata")

        return [Lost()]


@pytest.mark.parametrize("finder", [BackportFinder(), OddFinder()], ids=["backport", "broken"])
def test_other_finders_of_distributions_take_nothing_away(tmp_path, monkeypatch, finder):
    metadata_folder(tmp_path, "esper-odd", entry_points=plugin("odd"))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    assert told() == [("plugin", "odd", "esper-odd")]


def test_long_fields_and_the_description_are_told_apart(tmp_path):
    head = "Summary: One\n  line.\nRequires-Dist: attrs\nRequires-Dist: b ; extra == 'c'\n\nName: another\nVersion: 9\n"
    metadata_folder(tmp_path, "esper-odd", head=head)
    found = scan([str(tmp_path)]).find("esper-odd").metadata
    assert found == ("esper-odd", "1.0", "One line.", ("attrs", "b ; extra == 'c'"))


def test_a_folder_alone_names_the_distribution(tmp_path):
    (tmp_path / "esper_odd-1.0-py3.11.egg-info").mkdir()
    assert scan([str(tmp_path)]).find("esper-odd").metadata == ("esper-odd", "1.0", "", ())


@pytest.mark.parametrize("name", ["a.b--c__D", "A-b.c-d"])
def test_names_are_compared_as_indexes_do(name):
    assert canonical(name) == "a-b-c-d"


class TestDamage:
    """Whatever is wrong with somebody's metadata, the others work and the culprit is named."""

    def test_entry_points_of_a_stranger_that_are_not_utf_8(self, install, site, esper):
        install("esper-blueprint-sound")
        metadata_folder(site, "legacy-tool", entry_points=UTF_16)
        by_name = {record["name"]: record for record in esper.json("plugins", "list", "--json")}
        assert by_name["blueprint-sound"]["status"] == "active"
        assert (by_name["legacy-tool"]["status"], by_name["legacy-tool"]["codes"]) == ("broken", ["E107"])
        assert "not UTF-8" in by_name["legacy-tool"]["problem"]
        assert "entry_points.txt" in by_name["legacy-tool"]["problem"]

    @pytest.mark.parametrize("field", ["Author: Jos\xe9", "Summary: caf\xe9"])
    def test_metadata_of_a_plugin_that_are_not_utf_8(self, field, install, site, load):
        install("esper-blueprint-sound")
        install("esper-odd")
        path = site / "esper_odd-0.1.0.dist-info" / "METADATA"
        path.write_bytes(field.encode("latin-1") + b"\n" + path.read_bytes())
        statuses = {record.origin.plugin: record for record in load().records}
        assert statuses["blueprint-sound"].status is Status.ACTIVE
        assert statuses["odd"].status is Status.BROKEN
        assert [problem.code for problem in statuses["odd"].problems] == ["E107"]
        assert '"esper-odd"' in statuses["odd"].problem

    def test_a_description_that_is_not_utf_8_harms_nobody(self, install, site, load):
        install("esper-odd")
        path = site / "esper_odd-0.1.0.dist-info" / "METADATA"
        path.write_bytes(path.read_bytes() + b"\nJos\xe9\n")
        assert [record.status for record in load().records] == [Status.ACTIVE]

    def test_metadata_of_what_a_plugin_requires(self, install, site, load):
        """Its folder's name has the version as well."""
        folder = metadata_folder(site, "acme-base", "1.5")
        (folder / "METADATA").write_bytes(b"Name: acme-base\nVersion: 1.5\nAuthor: Jos\xe9\n")
        install("esper-fits", requires=("acme-base>=1.2",))
        install("esper-does-not", requires=("acme-base>=1.6",))
        statuses = {record.origin.plugin: record.status for record in load().records}
        assert statuses == {"fits": Status.ACTIVE, "does-not": Status.INCOMPATIBLE}

    def test_a_line_that_is_no_entry_point(self, install, site, load):
        install("esper-blueprint-sound")
        install("esper-odd")
        (site / "esper_odd-0.1.0.dist-info" / "entry_points.txt").write_text("[esper]\nodd\n")
        statuses = {record.origin.distribution: record.status for record in load().records}
        assert statuses == {"esper-blueprint-sound": Status.ACTIVE, "esper-odd": Status.BROKEN}

    def test_such_a_line_in_a_group_of_others_is_none_of_ours(self, install, site, load):
        install("esper-odd")
        with (site / "esper_odd-0.1.0.dist-info" / "entry_points.txt").open("a") as file:
            file.write("[console_scripts]\nodd\n")
        assert [record.status for record in load().records] == [Status.ACTIVE]

    def test_a_damaged_file_in_a_zip(self, tmp_path, monkeypatch, load):
        archive = tmp_path / "plugins.zip"
        with zipfile.ZipFile(archive, "w") as writing:
            writing.writestr("esper_zipped-1.0.dist-info/METADATA", "Name: esper-zipped\nVersion: 1.0\n")
            writing.writestr("esper_zipped-1.0.dist-info/entry_points.txt", UTF_16)
            writing.writestr("acme_zipped-1.0.dist-info/METADATA", b"Name: Jos\xe9\n")
        monkeypatch.syspath_prepend(archive)
        importlib.invalidate_caches()
        with pytest.raises(EsperError, match='"esper-zipped"') as raised:
            list(scan().find("esper-zipped").entry_points("esper"))
        assert raised.value.code == "E107"

    def test_it_can_be_switched_off_by_name(self, site, esper):
        metadata_folder(site, "legacy-tool", entry_points=UTF_16)
        done = esper("plugins", "list", "--strict-plugins")
        assert done.returncode == 4
        assert "legacy-tool" in done.stderr
        assert esper("plugins", "list", "--strict-plugins", "--no-plugin", "legacy-tool").returncode == 0


def test_an_installer_that_says_editable_is_believed(site, install):
    install("esper-edited")
    written = json.dumps({"url": "file:///x", "dir_info": {"editable": True}}, indent=1)
    folder = site / "esper_edited-0.1.0.dist-info"
    (folder / "direct_url.json").write_text(written)
    assert scan([str(site)]).find("esper-edited").is_editable
    (folder / "direct_url.json").write_text(json.dumps({"url": "file:///editable", "dir_info": {"editable": False}}))
    assert not scan([str(site)]).find("esper-edited").is_editable
