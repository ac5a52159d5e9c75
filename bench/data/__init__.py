"""Data: dataset cards, splits and shots, label noise, cached features."""
