"""Arithmetic and pages of eval.compare: reports against a baseline, on the same texts."""
