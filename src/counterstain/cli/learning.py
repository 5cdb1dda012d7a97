"""Verbs of learning beyond one study: features, probes and the search for settings."""
