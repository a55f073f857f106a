"""The workspace on disk, its steps and their state."""
