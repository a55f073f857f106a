"""Recaster: learns two faces and renders one person's face onto another's performance in a finished shot."""

__version__ = "0.1.0"
