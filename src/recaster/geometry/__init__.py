"""Pure geometry: fits, framings, warps, pose, motion over time."""
