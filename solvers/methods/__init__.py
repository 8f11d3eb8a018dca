"""One file per family; every file here is loaded by the registry."""
