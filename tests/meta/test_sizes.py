"""The script that counts the code, on trees made for it: some just keep each limit, and mutants break one."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GROWING = "plugins/esper-growing/src/esper_growing"
TOOL = Path(__file__).parents[2] / "tools" / "sizes.py"


@pytest.fixture(scope="module")
def sizes() -> Any:
    spec = importlib.util.spec_from_file_location("esper_tool_sizes", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path, sizes: Any) -> Path:
    """A root that keeps every limit: each place that one names is there, and one plugin."""
    for _, places, _ in sizes.LIMITS:
        for place in places:
            write(tmp_path, f"{place.removesuffix('/*')}/__init__.py", "")
    write(tmp_path, "plugins/esper-a/src/esper_a/plugin.py", "A = 1\n")
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


def fill(root: Path, folder: str, lines: int) -> None:
    """Write modules of at most 250 lines of code."""
    for number, start in enumerate(range(0, lines, 250)):
        write(root, f"{folder}/m{number}.py", "a = 1\n" * min(250, lines - start))


def function(lines: int, docstring: str = "") -> str:
    return f"def long():\n{docstring}" + "    print()\n" * (lines - 1)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("", 0),
        ("\n\n# a comment\n", 0),
        ('"""A docstring\n\nof four\nlines."""\n', 0),
        ("import os\nfrom typing import (\n    Any,\n    Final,\n)\n", 0),
        ("def f():\n    import os\n    return os\n", 2),
        ("def f():\n    '''Of a\n    function.'''\n    # why\n\n    return 1  # one\n", 2),
        ("class A:\n    '''Of a class.'''\n\n    a = 1\n    '''No docstring.'''\n", 3),
        (
            "async def f():\n    '''Of a coroutine.'''\n    await g(\n        1,\n\n        # why\n        2,\n    )\n",
            5,
        ),
        ("text = '''\nfirst\n\nlast\n'''\n", 4),
        ("text = '''\nimport os\n# no comment\n'''\n", 4),
        ("a = 1 + \\\n    2\n", 2),
        ("@cache\ndef f(): ...\n", 2),
        ("if TYPE_CHECKING:\n    import os\n", 1),
        ("important = imports\n", 1),
        ("'''Ä docstring.'''\nä = f'{ö}'\n", 1),
        ("''''''\na = 1\n", 1),
        ("a = '\x0c\u2028'\nb = 1\n", 2),
    ],
)
def test_lines_of_code_are_counted(sizes: Any, source: str, count: int) -> None:
    assert sizes.code_lines(source) == count


def test_a_tree_within_its_limits_has_no_problem(sizes: Any, tree: Path) -> None:
    fill(tree, "esper_core/leyline", 2_500)
    fill(tree, "esper_core/simic", 2_500)
    fill(tree, "esper_core/adapting", 2_000)
    fill(tree, GROWING, 500)
    fill(tree, f"{GROWING}/sites", 950)
    fill(tree, "plugins/esper-a/src/esper_a", 9_000)
    write(tree, "esper_core/leyline/long.py", "#\n" * 300)
    write(
        tree,
        "plugins/esper-a/src/esper_a/long.py",
        function(61, '    """Of one line."""\n').removesuffix("    print()\n"),
    )
    assert list(sizes.problems(tree)) == []


#: What is put into the tree, and what is said then.
MUTANTS = [
    ({"esper_core/simic": 5_291}, "leyline to simic: 5,291 lines of code, 1 over the limit of 5,290"),
    ({"esper_core/leyline": 2_391, "esper_core/nn": 2_900}, "leyline to simic: 5,291 lines of code"),
    ({"esper_core/kasmina": 4_000, "esper_core/other": 3_011}, "the whole core: 7,011 lines of code, 1 over"),
    ({"esper_core/other": 7_011}, "the whole core: 7,011 lines of code"),
    ({GROWING: 501}, "growing: 501 lines of code, 1 over the limit of 500"),
    ({f"{GROWING}/sites": 1_696}, "esper-growing: 1,696 lines of code, 1 over the limit of 1,695"),
    ({"esper_core/tolaria/long.py": "#\n" * 301}, "tolaria/long.py has 301 lines, at most 300"),
    ({"esper_core/deep/er/long.py": "\n" * 301}, "deep/er/long.py has 301 lines"),
    ({"plugins/esper-a/src/esper_a/long.py": '"""\n' + "\n" * 299 + '"""\n'}, "esper_a/long.py has 301 lines"),
    ({"esper_core/nn.py": function(61)}, "nn.py:1 long has 61 lines, at most 60"),
    ({"esper_core/nn.py": function(61, '    """Said."""\n')}, "nn.py:1 long has 61 lines"),
    ({"esper_core/nn.py": f"async {function(61)}"}, "nn.py:1 long has 61 lines"),
    ({"plugins/esper-a/src/esper_a/b.py": f"A = 1\n{function(62)}"}, "esper_a/b.py:2 long has 62 lines"),
]


@pytest.mark.parametrize(("contents", "problem"), MUTANTS, ids=[problem for _, problem in MUTANTS])
def test_a_tree_over_a_limit_has_that_problem(sizes: Any, tree: Path, contents: dict[str, Any], problem: str) -> None:
    for path, content in contents.items():
        fill(tree, path, content) if isinstance(content, int) else write(tree, path, content)
    (found,) = sizes.problems(tree)
    assert problem in found


def test_a_part_that_a_limit_names_must_be_there(sizes: Any, tree: Path) -> None:
    (tree / "esper_core/kasmina").rename(tree / "esper_core/renamed")
    assert list(sizes.problems(tree)) == ["there is no esper_core/kasmina: correct LIMITS in tools/sizes.py"]


def test_a_module_of_the_core_is_a_part_as_a_folder_is(sizes: Any, tree: Path) -> None:
    (tree / "esper_core/nn/__init__.py").unlink()
    write(tree, "esper_core/nn.py", "a = 1\n")
    assert list(sizes.problems(tree)) == []
    assert "| nn | 1 | 1 | 1 |  |" in sizes.table(tree).splitlines()


def test_the_table_shows_parts_sums_and_limits(sizes: Any, tree: Path) -> None:
    write(tree, "esper_core/leyline/sites.py", '"""Sites."""\n\nimport os\n\nA = os\n')
    write(tree, "esper_core/other.py", "a = 1\n" * 1_200)
    rows = sizes.table(tree).splitlines()
    assert "| leyline | 2 | 5 | 1 |  |" in rows
    assert "| esper-a | 1 | 1 | 1 |  |" in rows
    assert "| **leyline to simic** | 7 | 5 | 1 | 5,290 |" in rows
    assert "| **the whole core** | 9 | 1,205 | 1,201 | 7,010 |" in rows
    assert "| **all plugins** | 2 | 1 | 1 |  |" in rows
    assert not any("sites.py" in row for row in rows)
    named = [row for row in sizes.table(tree, modules=True).splitlines() if "sites.py" in row]
    assert named == ["| &nbsp; esper_core/leyline/sites.py | 1 | 5 | 1 |  |"]


def test_the_command_fails_where_a_limit_is_exceeded(tree: Path) -> None:
    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, TOOL, "--check", "--root", tree], capture_output=True, text=True)

    assert (check().returncode, check().stdout, check().stderr) == (0, "", "")
    fill(tree, GROWING, 501)
    done = check()
    assert done.returncode == 1
    assert "growing: 501 lines of code" in done.stderr


def test_the_command_prints_what_stands_here() -> None:
    done = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, check=True)
    assert "\n| leyline |" in done.stdout
    assert "\n| esper-task-vision |" in done.stdout
