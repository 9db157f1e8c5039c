"""How the system touches the world: settings, wiring, adapters, the pipeline's use of them, and the CLI."""
