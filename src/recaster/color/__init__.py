"""Pure colour: spaces, statistics, transfers."""
