"""Verbs that hand a model on: export."""
