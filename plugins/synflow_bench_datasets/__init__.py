"""The data sets that come with synflow-bench, one file a family."""
