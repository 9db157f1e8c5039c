"""A small world around jobs: what it may do to them, and the laws that must hold whatever it does."""
