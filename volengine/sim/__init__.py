"""The simulator: atoms, specimens, tilt series, reconstruction. Arrays in, arrays out; nothing here opens a file.

:mod:`~volengine.sim.atoms` makes particles, :mod:`~volengine.sim.shapes` membranes, film and ice,
:mod:`~volengine.sim.placing` puts them where nothing is; :mod:`~volengine.sim.build` does all of this by a
:mod:`~volengine.sim.recipe` and gives a :mod:`~volengine.sim.scene`, :mod:`~volengine.sim.render` its voxels.
:mod:`~volengine.sim.imaging` goes from voxels to a tomogram.
"""
