"""The small task and host plans of the growing host's tests serve the loop too."""

import importlib.util
from pathlib import Path

_path = Path(__file__).parents[1] / "tolaria" / "conftest.py"
_spec = importlib.util.spec_from_file_location("esper_test_plans", _path)
_plans = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_plans)

plan = _plans.plan
variant = _plans.variant
