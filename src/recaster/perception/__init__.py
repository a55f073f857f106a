"""Pretrained networks: detectors and landmarkers behind small protocols."""
