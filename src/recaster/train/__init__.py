"""Samples on the device, augmentation, the loop, checkpoints, preview."""
