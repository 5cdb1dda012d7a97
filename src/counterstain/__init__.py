"""Counterstain: from a folder of histology images to a claim that survives another hospital."""

__version__ = "0.1.0"
