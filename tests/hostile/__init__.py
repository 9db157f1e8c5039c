"""Hostile uploads: a corpus made from a seed, and what every part that opens uploads must survive."""
