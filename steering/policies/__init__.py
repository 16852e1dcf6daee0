"""The shelf of steering policies: a folder each, with ``policy.h`` and ``policy.py``."""
