"""Montages of SerialEM: where the pieces of a stack lie. See :mod:`volengine.io.montage.find`."""
