"""Labels of STAR files of particles that mean something to volengine; three of a kind in the order z, y, x."""

from __future__ import annotations

PIXEL = ("rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX")
CENTRED = ("rlnCenteredCoordinateZAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateXAngst")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
SUBTOMOGRAM = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
PRIORS = ("rlnAngleRotPrior", "rlnAngleTiltPrior", "rlnAnglePsiPrior")
SHIFT_A = ("rlnOriginZAngst", "rlnOriginYAngst", "rlnOriginXAngst")
SHIFT_PIXEL = ("rlnOriginZ", "rlnOriginY", "rlnOriginX")
NORMAL = ("volengineNormalZ", "volengineNormalY", "volengineNormalX")
SINGLE = {
    "rlnAutopickFigureOfMerit": "weight",
    "aisParticleSize": "weight",
    "volengineLabel": "label",
    "volengineVolumeA3": "volume_a3",
    "volengineSizeVox": "size_vox",
}
TOMOGRAM = ("rlnTomoName", "rlnMicrographName")
GROUP = "rlnOpticsGroup"
TILT_SERIES_PIXEL = "rlnTomoTiltSeriesPixelSize"
IMAGE_PIXEL = "rlnImagePixelSize"
MICROGRAPH_PIXEL = "rlnMicrographPixelSize"
ORIGINAL_PIXEL = "rlnMicrographOriginalPixelSize"
BINNING = "rlnTomoSubtomogramBinning"
SIZES = ("rlnTomoSizeZ", "rlnTomoSizeY", "rlnTomoSizeX")
PARTICLES_FILE = "rlnTomoParticlesFile"
TOMOGRAMS_FILE = "rlnTomoTomogramsFile"
WARP_FILE = ".tomostar"
