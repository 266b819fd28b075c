"""Methods on surfaces: arrays or a :class:`~volengine.core.surface.Surface` in, arrays out."""
