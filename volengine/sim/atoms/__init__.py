"""Particles from atoms: the potential of each atom, and templates, the weighted points that are placed.

:mod:`~volengine.sim.atoms.scattering` holds the scattering factors; :mod:`~volengine.sim.atoms.templates` makes
templates of structures and of density maps; :mod:`~volengine.sim.atoms.standins` and
:mod:`~volengine.sim.atoms.filament_units` make templates without a file.
"""
