"""The learner: turns labelled traffic into gated adapters."""
