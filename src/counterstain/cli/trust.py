"""Verbs that ask how far a model can be trusted: robustness and explanation."""
