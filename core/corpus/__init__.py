"""A synthetic corpus of attacks and harmless prompts, written for this project."""
