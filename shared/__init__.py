"""What the system means: models, stages, states, events, errors and ports. Pure: no I/O, clock or environment."""
