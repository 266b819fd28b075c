"""tune: what rules and pick steps find in a part of a tomogram's predictions, at once, while their fields change."""
