"""From a specimen to a tomogram: tilt series, projection, microscope, reconstruction.

:mod:`~volengine.sim.imaging.tilts` says which images are taken, :mod:`~volengine.sim.imaging.projector` makes their
line integrals, :mod:`~volengine.sim.imaging.exposure` what a microscope (:mod:`~volengine.sim.imaging.optics`) counts
of them, and :mod:`~volengine.sim.imaging.reconstruct` the tomogram.
"""
