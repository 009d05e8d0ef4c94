"""Bridges to other harnesses: their tasks on our engine, and our engine under their tasks."""
