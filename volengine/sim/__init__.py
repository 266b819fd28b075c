"""The simulator: atoms, specimens, tilt series, reconstruction. Its functions take and return arrays, and open no file.

:mod:`~volengine.sim.atoms` makes particles, :mod:`~volengine.sim.shapes` membranes, film and ice, and
:mod:`~volengine.sim.placing` places them without overlap. :mod:`~volengine.sim.build` builds a
:mod:`~volengine.sim.scene` from a :mod:`~volengine.sim.recipe`; :mod:`~volengine.sim.render` computes its voxels, and
:mod:`~volengine.sim.imaging` simulates the tilt series and reconstructs the tomogram.
"""
