"""The blueprint that README.md shows passes the checks that it would be held to."""

import re
from pathlib import Path

from esper_testing import CHECKS, find_plugins, run_checks
from esper_testing.runner import Outcome

README = (Path(__file__).parents[2] / "README.md").read_text()


def shown(file: str) -> str:
    return re.search(rf"^```python\n# esper_blueprint_foo/{file}: .*?\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[1]


def test_the_blueprint_of_the_readme_passes_every_check(install):
    install("esper-blueprint-foo", code=shown("plugin.py"), files={"module.py": shown("module.py")})
    quick = [check.id for check in CHECKS if not check.slow]
    results = list(run_checks(find_plugins("esper-blueprint-foo"), select=quick))
    assert {"blueprint-bounded", "blueprint-zero-at-birth", "plugin-loads"} <= {it.case.check.id for it in results}
    assert [(it.case.check.id, it.message) for it in results if it.outcome is not Outcome.PASSED] == []
