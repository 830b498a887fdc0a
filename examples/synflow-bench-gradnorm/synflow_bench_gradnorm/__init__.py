"""Pruning by the norm of gradients: an example of a plugin for synflow-bench."""
