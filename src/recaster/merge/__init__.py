"""From a frame and a new face to the composited frame, and from clip to clip."""
