"""Helpers under their published names."""
