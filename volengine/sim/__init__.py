"""The simulator: atoms, specimens, tilt series, reconstruction. Arrays in, arrays out; nothing here opens a file."""
