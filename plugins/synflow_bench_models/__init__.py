"""The networks that come with synflow-bench, one file a family."""
