"""The pruners of synflow-bench, one module per family of methods."""
