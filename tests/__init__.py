"""The tests; a package, since some releases of libraries install one of this name, too."""
