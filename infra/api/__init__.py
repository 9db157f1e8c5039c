"""The HTTP API. Each module holds the routes of one kind of thing; ``app`` puts them together."""
