"""Whatever is printed goes through one place, which lets nothing raw reach a terminal."""

import ast

#: The one place, what draws with rich behind it, and the version, which is our own.
PLACES = ("esper_runs/printing.py", "esper_runs/terminal.py", "esper_app/cli/__init__.py")


def printing(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write") or (
            called.startswith("traceback.print")
        ):
            yield f"{path}:{node.lineno} {called}"


def test_commands_print_through_one_place(root):
    sources = [*root.glob("esper_core/**/*.py"), *root.glob("plugins/*/src/**/*.py")]
    found = [it for path in sources if not path.as_posix().endswith(PLACES) for it in printing(path)]
    assert not found, f"use esper_runs.printing.echo, which lets no escape through: {found}"


def test_the_rule_finds_what_it_looks_for(tmp_path):
    (path := tmp_path / "a.py").write_text("import click\nclick.echo('a')\nprint('b')\ntraceback.print_exc()\n")
    assert len([*printing(path)]) == 3


#: Records that no user writes.
RECORDS = ("esper_urza/manifest.py",)


def test_options_are_refused_in_words(root):
    sources = [it for it in root.glob("plugins/*/src/**/*.py") if not it.as_posix().endswith(RECORDS)]
    found = [path.as_posix() for path in sources if "matches_re" in path.read_text()]
    assert not found, f"`matches_re` shows a user a regular expression; say what is allowed, with an example: {found}"
