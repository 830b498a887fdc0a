"""The pruners that come with synflow-bench, one file a method."""
