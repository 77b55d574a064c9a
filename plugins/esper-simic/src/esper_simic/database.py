"""A SQLite file of the state directory that several processes use."""

from functools import partial
from pathlib import Path

from esper_core.leyline.errors import EsperError
from esper_oona.api import SharedFile


class Database(SharedFile):
    """A file with tables; may be used by several threads and processes.

    What a transaction has written survives the death of the process and of the machine once the transaction is over.

    Args:
        path: of the file; only its owner can read it.
        schema: statements that make the tables where they are not there.
        version: of the schema.

    Raises:
        EsperError: E635, by every method, if the file cannot be used.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        if path.is_symlink():
            raise unusable("it is a link", path)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(str(error), path) from error
        super().__init__(path, partial(unusable, path=path), schema.split(";"), version=version, synchronous="FULL")


def unusable(why: str, path: Path) -> EsperError:
    """Return the error that says why what is kept cannot be used."""
    fix = "name another state directory with --state, or bring the file back"
    return EsperError("E635", "what Simic has kept cannot be used", where=str(path), why=why, fix=fix)
