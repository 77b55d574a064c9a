"""Tezzeret: compilers make artifacts of blueprints, each in a process of its own, checked before it counts."""
