"""Where an export goes: the name of a file does not say another form than what is in it."""

from pathlib import Path

import pytest

from esper_app_export.export_files import destination
from esper_app_export.export_formats import Format
from esper_core.leyline.errors import EsperError
from esper_runs.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "mine").mkdir()
    return RunDirectory(tmp_path / "mine")


@pytest.mark.parametrize(
    ("form", "name"),
    [(Format.ONNX, "net.pt2"), (Format.TORCH_EXPORT, "net.safetensors"), (Format.SAFETENSORS, "net.onnx")],
)
def test_the_suffix_of_another_form_is_refused(run: RunDirectory, tmp_path: Path, form: Format, name: str) -> None:
    with pytest.raises(EsperError) as caught:
        destination(run, form, tmp_path / name)
    assert caught.value.code == "E513"
    assert f"ends in {form.suffix}" in caught.value.fix


def test_the_own_suffix_no_known_suffix_and_a_folder_are_taken(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "folder.pt2").mkdir()
    for name, expected in (("a.onnx", "a.onnx"), ("b.bin", "b.bin"), ("folder.pt2", "folder.pt2/mine.onnx")):
        assert destination(run, Format.ONNX, tmp_path / name) == tmp_path / expected
