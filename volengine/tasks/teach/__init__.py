"""What is asked of models and annotations together."""
