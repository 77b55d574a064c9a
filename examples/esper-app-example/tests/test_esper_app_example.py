"""What the command says; that `esper` finds it is part of it, so it is looked up as `esper` does."""

from importlib.metadata import entry_points

from click.testing import CliRunner, Result


def run(*arguments: str) -> Result:
    (found,) = entry_points(group="esper.commands", name="settings")
    return CliRunner().invoke(found.load(), ["digits", *arguments])


def settings(output: str) -> dict[str, list[str]]:
    lines = [line.split(maxsplit=2) for line in output.partition("\n\n")[0].splitlines()[1:]]
    return {key: rest for key, *rest in lines}


def test_it_shows_what_is_set_and_by_whom() -> None:
    done = run("--set", "epochs=5")
    assert done.exit_code == 0, done.output
    shown = settings(done.output)
    assert shown["epochs"] == ["5", "the command line"]
    assert shown["host.name"] == ['"cnn"', 'the settings of task "digits"']
    assert "seed" not in shown
    assert "further settings are the built-in defaults" in done.output


def test_what_is_wrong_is_said_as_esper_says_it() -> None:
    done = run("--set", "host.widht=8")
    assert done.exit_code != 0
    assert "host.widht" in str(done.exception)
