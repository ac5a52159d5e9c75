"""Backbones: what a slug means, and how its weights are found and loaded."""
