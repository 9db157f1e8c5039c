"""What the functions do, in terms of ports alone: the same on every cloud."""
