"""A durable cloud on one machine: SQLite for jobs and events, files for objects, processes for GPU jobs."""
