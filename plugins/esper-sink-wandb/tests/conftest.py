"""Neither program may touch the user's files: both read these variables when they are imported or begin a run."""

import os
from tempfile import TemporaryDirectory

_PLACE = TemporaryDirectory(ignore_cleanup_errors=True)
for _name in ("TRACKIO_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
    os.environ[_name] = os.path.join(_PLACE.name, _name)
