collect_ignore = ["marsys_021"]
"""Its checks run in a Python of their own, see `test_marsys.py`."""
