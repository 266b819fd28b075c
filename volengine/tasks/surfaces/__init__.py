"""surfaces: sets of surfaces measured, sampled, and picked on."""
