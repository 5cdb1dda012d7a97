"""Verbs of whole slides: look at them, cut them into tiles, read a cohort of them."""
