"""What every room stands on: paths, verified contents, atomic files and locks, plug-ins, text."""
