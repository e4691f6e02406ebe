"""What explains a decision and what saves the model's work, learned from the training rows."""
