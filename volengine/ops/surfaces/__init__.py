"""Methods on surfaces: a ``Surface`` or arrays in, arrays out."""
