"""Reports as self-contained pages: one file each, which opens without a network and loads nothing."""
