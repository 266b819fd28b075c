"""Files of Amira and Avizo (``.am``): lattices, which are volumes, and spatial graphs, which are points in order."""
