"""Large, smooth parts of the specimen: bilayers of vesicles, sheets and segmentations; the carbon film; the ice.

A membrane is a signed distance on a grid, computed from points with normals (:mod:`~volengine.sim.shapes.surfaces`);
:mod:`~volengine.sim.shapes.membranes` adds a profile of potential around it. :mod:`~volengine.sim.shapes.film` computes
the carbon film and the surfaces of the ice.
"""
