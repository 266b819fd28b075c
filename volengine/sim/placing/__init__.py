"""Place rigid particles and filaments in a box without overlap.

:mod:`~volengine.sim.placing.occupancy` is the grid of occupied cells, :mod:`~volengine.sim.placing.solids` the space
that a template fills. :mod:`~volengine.sim.placing.fill` places :mod:`~volengine.sim.placing.layers` of species in the
:mod:`~volengine.sim.placing.regions` that membranes enclose; :mod:`~volengine.sim.placing.filaments` grows filaments.
"""
