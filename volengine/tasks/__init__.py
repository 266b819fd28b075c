"""The verbs of volengine, and what they share."""
