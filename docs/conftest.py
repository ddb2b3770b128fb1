"""Sphinx runs the Python files of this folder; pytest runs the examples on its pages, and nothing else."""

collect_ignore_glob = ["*.py"]
