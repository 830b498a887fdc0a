"""The datasets that come with synflow-bench, one module per family."""
