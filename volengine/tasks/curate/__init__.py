"""curate: what people say of picks, kept apart from the tables."""
