"""Videos and pictures: probe, read, write."""
