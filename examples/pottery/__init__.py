"""A pottery studio: an agent with eight tools that run, and simulated people who ask for them."""
