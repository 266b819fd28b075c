"""Methods on triangle meshes: arrays or a ``Surface`` in, arrays out."""
