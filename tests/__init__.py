"""A package, so that it goes before another of this name that a dependency installs (ciw does)."""
