"""Templates by family of models: what stands around the turns of a conversation."""
