"""The embedded engine: the one place of this package that imports torch and transformers."""
