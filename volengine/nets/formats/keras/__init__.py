"""Readers and writers of Keras models and of Ais's archives."""
