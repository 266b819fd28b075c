"""Where particles stand: rigid ones and filaments, in a box, without overlap.

:mod:`~volengine.sim.placing.occupancy` is the grid of what is taken, :mod:`~volengine.sim.placing.solids` what a
template takes of it. :mod:`~volengine.sim.placing.fill` places :mod:`~volengine.sim.placing.layers` of species in the
:mod:`~volengine.sim.placing.regions` that membranes make; :mod:`~volengine.sim.placing.filaments` grows chains.
"""
