"""Landmarkers: one module per network, all behind one protocol."""
