"""Training: data on the device, the loop, evaluation. Knows no pruning."""
