"""Figures of measures as SVG or PNG. matplotlib is imported here alone."""
