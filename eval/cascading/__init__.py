"""What a layer before the model saves and what it costs."""
