"""The prompt-tuning engine: text tower, prompt learner, training loop, metrics."""

ENGINE_VERSION = 2  # raised whenever a change alters results: plans then call older runs stale
