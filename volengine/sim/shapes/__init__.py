"""What is large and smooth: bilayers of vesicles, of sheets and of a segmentation; the carbon film and the ice.

Membranes are signed distances on a grid, made of clouds of points with normals (:mod:`~volengine.sim.shapes.surfaces`);
:mod:`~volengine.sim.shapes.membranes` lays a profile of potential about them. :mod:`~volengine.sim.shapes.film` says
where the carbon is, and where the ice ends.
"""
