"""The loggers that come with synflow-bench: CSV files, TensorBoard, Weights & Biases."""
