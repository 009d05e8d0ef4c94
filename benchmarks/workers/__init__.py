"""Runs on several workers: a local cluster, what its failures cost, and how efficiency falls with their number."""
