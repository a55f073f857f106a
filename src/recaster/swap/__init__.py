"""A trained model as a function from crops to new faces."""
