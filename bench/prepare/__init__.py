"""From a user's images to cached features: sources, images, extraction, imported features, and what is missing."""
