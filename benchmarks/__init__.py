"""Commands that time this project beside others; run from a checkout, not shipped, and no tests."""
