"""Pruning by the size of gradients: an example of a plugin for synflow-bench."""
