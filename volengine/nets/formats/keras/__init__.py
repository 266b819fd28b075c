"""Keras models and Ais's archives of them."""
