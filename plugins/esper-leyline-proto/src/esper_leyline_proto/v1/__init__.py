"""Generated from the `.proto` files by `tools/generate.py`."""
