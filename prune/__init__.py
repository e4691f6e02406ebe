"""Layer, head, width and magnitude pruning."""
