"""The models that come with synflow-bench, one module per family of architectures."""
