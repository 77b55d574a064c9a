"""Where to find the files of a published data set."""

import os
from pathlib import Path

from esper_task_vision.hub import read_hub, read_tables, table_files
from esper_task_vision.idx import read_idx_folder
from esper_task_vision.images import LabelledImages, PublicData, missing

#: The environment variable for a folder that contains a folder for each data set.
DATA_DIRECTORY_VARIABLE = "ESPER_DATA_DIR"


def read(
    data: PublicData, directory: str | None, system_directory: str | None = None
) -> tuple[LabelledImages, LabelledImages]:
    """Return the official training and test images.

    They come from `directory` if it is given; otherwise from the folder named after the data set in
    ``ESPER_DATA_DIR``, from `system_directory`, or from the hub. The first place that exists is used: if a file is
    missing there, that is an error, and the other places are not tried.

    Raises:
        EsperError: E301 if the data cannot be found, E302 if they are damaged.
    """
    if directory is not None:
        folder = Path(directory).expanduser()
        if not folder.is_dir():
            raise missing(data, f"task.directory={directory}", "there is no such folder")
        return _read_folder(data, folder)
    for folder in _candidates(data, system_directory):
        if folder.is_dir():
            return _read_folder(data, folder)
    variable = f"${DATA_DIRECTORY_VARIABLE}/{data.name}"
    return read_hub(data, ", ".join(filter(None, (variable, system_directory))))


def _candidates(data: PublicData, system_directory: str | None) -> list[Path]:
    own = os.environ.get(DATA_DIRECTORY_VARIABLE)
    folders = [Path(own).expanduser() / data.name] if own else []
    return [*folders, Path(system_directory)] if system_directory else folders


def _read_folder(data: PublicData, folder: Path) -> tuple[LabelledImages, LabelledImages]:
    if found := table_files(folder):
        return read_tables(data, folder, *found)
    if data.idx:
        return read_idx_folder(data, folder)
    raise missing(data, str(folder), "the folder holds no parquet or arrow files")
