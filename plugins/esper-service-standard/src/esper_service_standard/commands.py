"""Services that are one command."""

from collections.abc import Mapping
from pathlib import Path

from esper_core.api import EsperError
from esper_service_standard.config import CommandConfig, ForgeConfig
from esper_weatherlight.api import Ending, Launch, Place, ProcessService, esper_command


class CommandService(ProcessService):
    """Runs a command.

    Args:
        config: which.
    """

    def __init__(self, config: CommandConfig) -> None:
        self._config = config

    def check(self, place: Place) -> None:
        """Raise EsperError E202 if there is no command, or a word has a brace that stands for nothing."""
        self._launch(place)

    def start(self, place: Place) -> Launch:
        """Start it. Raises what `check` raises."""
        launch = self._launch(place)
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)
        return launch

    def _launch(self, place: Place) -> Launch:
        config, words = self._config, [_filled(word, place) for word in self._config.command]
        if not words:
            fix = f'services.{place.name}.command = ["esper", "dashboard"]'
            raise EsperError("E202", "there is no command", where=f"services.{place.name}.command", fix=fix)
        environment = {name: _filled(text, place) for name, text in config.environment.items()}
        command = esper_command(*words[1:]) if words[0] == "esper" else words
        return Launch(command=command, environment=environment)

    def ready(self, place: Place) -> bool:
        """Look for the file."""
        return self._ready_file is None or self._ready_file.exists()

    def ended(self, place: Place, code: int) -> Ending:
        """A command that is to run for ever has failed whenever it ends."""
        found = super().ended(place, code)
        return Ending.AGAIN if found is Ending.DONE and not self._config.ends else found

    @property
    def _ready_file(self) -> Path | None:
        return None if self._config.ready_file is None else Path(self._config.ready_file)


class ForgeService(ProcessService):
    """Runs ``esper forge run --wait``, which says on the bus what was saved and what failed.

    Args:
        config: how.
    """

    def __init__(self, config: ForgeConfig) -> None:
        self._config = config

    def start(self, place: Place) -> Launch:
        """Start it."""
        store = () if self._config.store is None else ("--store", self._config.store)
        words = ("--bus", place.bus, "--timeout", f"{self._config.timeout:g}", *store)
        return Launch(command=esper_command("forge", "run", "--wait", *words))

    def ended(self, place: Place, code: int) -> Ending:
        """It is to run for ever; jobs in quarantine (1) are no failure of the forge's."""
        return Ending.HOPELESS if code == 2 else Ending.AGAIN


def _filled(text: str, place: Place) -> str:
    known: Mapping[str, str] = {"bus": place.bus, "state": str(place.state), "folder": str(place.folder)}
    try:
        return text.format_map(known)
    except (KeyError, ValueError, IndexError) as error:
        what = f'"{text}" has a brace that stands for nothing'
        fix = "{bus}, {state} and {folder} are known; a brace of your own is doubled: {{"
        raise EsperError("E202", what, where=f"services.{place.name}", fix=fix) from error
