"""Face detectors: one module per network, all behind one protocol."""
