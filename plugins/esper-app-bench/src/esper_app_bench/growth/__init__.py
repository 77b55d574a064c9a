"""The benchmark of growing: what is measured stands in docs/growth-plan.md."""
