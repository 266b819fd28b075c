"""What a specimen is made of, as recipes: plain values in the units that users write, checked, with no method.

:mod:`~volengine.sim.recipe.specimen` holds the whole, the other modules its parts. Builders read them and convert
nanometres to angstrom where they compute.
"""
