"""Teacher, targets, student, losses and training."""
