"""A local page over a folder of runs: look and decide; and the same over REST."""
