"""Files that come with the package: networks, presets, structures, templates of pages."""
