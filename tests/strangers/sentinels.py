"""Files outside of a run's directory that nothing may touch, and a way to say whether anything did."""

import hashlib
import os
from pathlib import Path

#: A plugin that leaves a mark if it is imported.
CODE = """
import pathlib
pathlib.Path(__file__).with_name("imported").touch()
ESPER_API = "2.0"
"""

EVENTS = "".join(f'{{"kind": "notice", "host": "", "data": {{}}, "sequence": {number}}}\n' for number in range(23))


class Sentinels:
    """A tree of files like those of a home directory, and what it looked like when it was made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "other-run").mkdir()
        for name, text in {
            "notes.txt": "what I must not forget\n",
            ".bashrc": "export PATH\n",
            "evil.py": CODE,
            "shared.jsonl": EVENTS,
            "other-run/manifest.json": '{"name": "other"}',
            "other-run/events.jsonl": EVENTS,
            "checkpoints/epoch-000001.safetensors": "not a checkpoint",
            "checkpoints/epoch-000002.safetensors": "not one either",
        }.items():
            (folder / name).write_text(text)
        self.before = self.state()

    @property
    def files(self) -> list[Path]:
        """All files."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def state(self) -> dict[str, tuple[object, ...]]:
        """Everything about the tree that somebody could change."""
        found: dict[str, tuple[object, ...]] = {}
        for folder, folders, names in os.walk(self.folder):
            for name in (*folders, *names):
                path = Path(folder, name)
                about = path.lstat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                # A hard link counts the links of its file, and changes nothing else about it.
                found[str(path.relative_to(self.folder))] = (about.st_mode, about.st_size, about.st_mtime_ns, content)
        return found

    def touched(self, appended: Path | None = None) -> list[str]:
        """Return the names of the files that are not as they were, each once.

        Args:
            appended: a log that a configuration has named: events may stand behind what was in it. They are removed.
        """
        if appended is not None and appended.suffix == ".jsonl" and appended.read_text().startswith(EVENTS):
            before = self.before[str(appended.relative_to(self.folder))][2]
            os.truncate(appended, len(EVENTS))
            os.utime(appended, ns=(before, before))
        before, self.before = self.before, self.state()
        return [name for name in {**before, **self.before} if before.get(name) != self.before.get(name)]
