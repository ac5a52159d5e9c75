"""Noisy Prompt Bench: honest comparison of noise-robust prompt tuning for vision-language models."""

__version__ = "0.2.0"
