"""The adapters for gymnasium and Lightning on the lowest versions that they declare."""

import importlib.util
import sys
from pathlib import Path

import pytest
from packaging.version import Version

_SPEC = importlib.util.spec_from_file_location("esper_test_lowest", Path(__file__).with_name("test_lowest_versions.py"))
lowest = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(lowest)

#: Their tests without those that teach agents of other libraries.
TESTS = (
    "plugins/esper-adapter-gymnasium/tests/test_esper_adapter_gymnasium_growth.py",
    "plugins/esper-adapter-gymnasium/tests/test_esper_adapter_gymnasium_table.py",
    "plugins/esper-adapter-lightning/tests/test_esper_adapter_lightning.py",
)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_adapters_work_on_the_lowest_versions(tmp_path):
    adapters = ("esper-adapter-gymnasium", "esper-adapter-lightning")
    environment = lowest.Lowest(tmp_path, ("esper-standard", *adapters))
    environment.create()
    found = environment.versions()
    for it in lowest.libraries(adapters):
        (bound,) = [Version(one.version) for one in it.specifier if one.operator == ">="]
        assert found[it.name] == bound, f"raise the bound of {it.name}"
    # For those who write `import lightning`, which the tests do as well.
    (extra,) = lowest.PROJECTS["esper-adapter-lightning"]["optional-dependencies"]["lightning"]
    install = ("-m", "uv", "pip", "install", "--quiet", "--python", environment.python)
    lowest.run(sys.executable, *install, "--resolution", "lowest-direct", "--no-deps", extra, cwd=tmp_path)
    command = (environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS)
    output = lowest.run(*command, cwd=lowest.ROOT, seconds=3000)
    assert " passed" in output
