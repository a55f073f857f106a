"""Likeness records, signatures, and what they say."""
