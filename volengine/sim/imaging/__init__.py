"""From a specimen to a tomogram: tilt series, projection, microscope, reconstruction.

:mod:`~volengine.sim.imaging.tilts` chooses the images, :mod:`~volengine.sim.imaging.projector` computes their line
integrals, :mod:`~volengine.sim.imaging.exposure` simulates the counts of a microscope
(:mod:`~volengine.sim.imaging.optics`), and :mod:`~volengine.sim.imaging.reconstruct` computes the tomogram.
"""
