"""``esper plugins new``: what it writes, and what it refuses. That what it writes works is shown by tests/packaging."""

import ast
import os
import resource
import stat
import subprocess
import sys
import tomllib
from contextlib import contextmanager, suppress
from keyword import iskeyword

import pytest
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from esper_app.cli.root import cli
from esper_app_new.scaffold.files import TEMPLATES, render
from esper_app_new.scaffold.names import KINDS_TO_WRITE
from esper_app_new.scaffold.names import names as names_of
from esper_core.leyline.errors import EsperError, ExitCode
from esper_core.plugins.kinds import KINDS

every_kind = pytest.mark.parametrize("word", KINDS_TO_WRITE)


def names(word, name):
    return names_of(KINDS_TO_WRITE[word], name)


@pytest.fixture
def new(site, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(cli, ["plugins", "new", "--directory", str(tmp_path), "--", *arguments])

    return run


def folders(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.name != "site")


def test_there_are_templates_for_every_kind_that_is_promised():
    assert list(KINDS_TO_WRITE) == [kind.name for kind in KINDS if not kind.provisional]


@every_kind
def test_a_distribution_is_complete(new, tmp_path, word):
    done = new(word, "wide-idea")
    assert done.exit_code == 0, done.output
    plugin = f"{KINDS_TO_WRITE[word].family}-wide-idea"
    package = f"src/esper_{plugin.replace('-', '_')}"
    assert folders(tmp_path) == [f"esper-{plugin}"]
    folder = tmp_path / f"esper-{plugin}"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {
        *(f"{package}/{name}" for name in ("__init__.py", "config.py", "module.py", "plugin.py", "py.typed")),
        *("tests/test_behaviour.py", "tests/test_conformance.py", ".github/workflows/tests.yml", ".gitignore"),
        *("LICENSE", "README.md", "pyproject.toml"),
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["esper"] == {plugin: f"{package.removeprefix('src/')}.plugin"}
    assert [line for line in done.output.splitlines() if line.strip() == f"cd {folder}"]


@every_kind
def test_nothing_is_left_to_fill_in(word):
    files = render(names(word, "wide-idea"))
    for name, text in files.items():
        assert "$" not in text.replace("${{ matrix.python }}", ""), name
        assert not name.endswith(".py") or ast.parse(text).body
    assert "ESPER_API" in next(text for name, text in files.items() if name.endswith("plugin.py"))


@every_kind
def test_every_template_is_used(word):
    parts = {path.name.removesuffix(".template") for path in (TEMPLATES / word).iterdir()}
    assert parts == {"about.md", "config.py", "module.py", "plugin.py", "behaviour_test.py", "outline.toml"}


def test_code_is_in_order_whatever_the_name(new, tmp_path):
    for word in KINDS_TO_WRITE:
        for name in ("a", "a-name-of-exactly-32-characters", "x" * 32):
            assert new(word, name).exit_code == 0
    ruff = (sys.executable, "-m", "ruff")
    for folder in folders(tmp_path):
        for check in (("check", "--quiet", "--no-cache"), ("format", "--check", "--diff", "--quiet", "--no-cache")):
            done = subprocess.run([*ruff, *check], cwd=tmp_path / folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{folder}\n{done.stdout}{done.stderr}"


def test_the_folder_belongs_to_everybody_whom_the_umask_allows(new, tmp_path):
    before = os.umask(0o027)
    try:
        assert new("sink", "foo").exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "esper-sink-foo").stat().st_mode) == 0o750


@pytest.mark.parametrize(
    ("word", "name", "better"),
    [
        ("blueprint", "Foo", "foo"),
        ("blueprint", "wide_attention", "wide-attention"),
        ("blueprint", "WideAttention", "wide-attention"),
        ("blueprint", "foo--bar", "foo-bar"),
        ("blueprint", "-foo", "foo"),
        ("blueprint", "3x3", "my-idea"),
        ("blueprint", "esper-blueprint-foo", "foo"),
        ("blueprint", "blueprint-foo", "foo"),
        ("gate", "esper-gates-foo", "foo"),
        ("gate", "gate-foo", "foo"),
        ("reward-term", "rewards-foo", "foo"),
        ("sink", "x" * 33, "x" * 32),
        ("sink", "sink", "my-idea"),
        ("sink", "esper", "my-idea"),
        ("sink", "größe", "gr-e"),
        ("sink", "../foo", "foo"),
        ("sink", "", "my-idea"),
    ],
)
def test_a_name_that_will_not_do_is_refused_with_one_that_will(new, tmp_path, word, name, better):
    done = new(word, name)
    assert done.exit_code == ExitCode.USAGE
    assert "error[E180]" in done.output
    assert f"esper plugins new {word} {better}" in done.output
    assert names(word, better)
    assert folders(tmp_path) == []


def accepted(word, name):
    with suppress(EsperError):
        return names(word, name)
    return None


NAMES = st.text("abcdefg-09_é", max_size=40) | st.sampled_from(["none", "class", "site", "nn"])


@given(word=st.sampled_from(list(KINDS_TO_WRITE)), name=NAMES)
def test_what_is_accepted_is_good_for_all_that_is_called_so(word, name):
    found = accepted(word, name)
    assume(found is not None)
    assert canonicalize_name(found.distribution) == found.distribution == Requirement(found.distribution).name
    assert found.distribution.count("esper-") == 1
    for identifier in (found.package, f"{found.class_name}Config"):
        assert identifier.isidentifier()
        assert not iskeyword(identifier)


def test_a_folder_that_exists_is_left_alone(new, tmp_path):
    folder = tmp_path / "esper-sink-foo"
    folder.mkdir()
    (folder / "mine").write_text("precious")
    done = new("sink", "foo")
    assert done.exit_code == ExitCode.USAGE
    assert "error[E181]" in done.output
    assert "exists already" in done.output
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_link_to_nowhere_is_left_alone(new, tmp_path):
    (tmp_path / "esper-sink-foo").symlink_to(tmp_path / "nowhere")
    assert "error[E181]" in new("sink", "foo").output


@contextmanager
def small_disk():
    """No file may grow beyond 600 bytes, like a disk that is full after some small files.

    No fixture, which would still be there when pytest writes how the test has ended.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_behind(new, tmp_path):
    with small_disk():
        done = new("sink", "foo")
    assert "error[E181]" in done.output
    assert "File too large" in done.output
    assert folders(tmp_path) == []


def test_a_directory_that_is_not_there_is_told(site, tmp_path):
    done = CliRunner().invoke(cli, ["plugins", "new", "sink", "foo", "--directory", str(tmp_path / "nowhere")])
    assert done.exit_code == ExitCode.USAGE
    assert "nowhere" in done.output


def test_a_name_of_espers_own_is_warned_of(new):
    done = new("blueprint", "conv-light")
    assert done.exit_code == 0
    assert "warning: esper-blueprint-conv-light is one of Esper's own distributions" in done.output


def test_an_installed_distribution_of_that_name_is_warned_of(new, install):
    install("esper-blueprint-foo")
    assert "warning: the distribution esper-blueprint-foo is installed" in new("blueprint", "foo").output


def test_a_component_of_that_name_is_warned_of(new, install):
    install("acme-shop-foo")
    done = new("blueprint", "foo")
    assert done.exit_code == 0
    assert "(acme-shop-foo 0.1.0) also offers a blueprint" in done.output
    assert "acme-shop-foo/foo" in done.output


def test_a_component_of_another_kind_is_no_clash(new, install):
    install("acme-shop-foo")
    assert "warning" not in new("sink", "foo").output


def test_a_gate_set_of_that_name_is_warned_of(new):
    assert 'also offers a gate "strict"' in new("gate", "strict").output


def test_a_selection_of_plugins_that_cannot_be_had_is_told_before_anything_is_written(new, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_PLUGINS", "not-there")
    assert "error[E150]" in new("sink", "foo").output
    assert folders(tmp_path) == []


def test_help_has_one_line_of_usage_and_names_the_kinds(site):
    told = CliRunner().invoke(cli, ["plugins", "new", "--help"]).output
    assert "[OPTIONS] KIND NAME" in told
    assert "reward-term" in told


def test_the_command_is_listed(site):
    assert "new" in CliRunner().invoke(cli, ["plugins", "--help"]).output
