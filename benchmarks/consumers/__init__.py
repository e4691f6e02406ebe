"""Real consumers asked in interpreters of their own, and how often they agree with our pipeline."""
