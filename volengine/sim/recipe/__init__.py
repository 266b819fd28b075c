"""Recipes of a specimen: plain values in the units that users write, which are checked but compute nothing.

:mod:`~volengine.sim.recipe.specimen` holds the whole recipe, the other modules its parts. Builders read the recipes and
convert nanometres to angstrom.
"""
