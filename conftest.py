"""No test of the workspace may reach a model or data hub, or the user's caches of one."""

import os
from tempfile import TemporaryDirectory

# The libraries read these when they are imported, which test modules and plugins' conftests do: a fixture is too late.
_HUB_CACHE = TemporaryDirectory(ignore_cleanup_errors=True)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = _HUB_CACHE.name
