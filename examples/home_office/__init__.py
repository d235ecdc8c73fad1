"""A home office: an agent with six tools that run, and simulated people who ask for them."""
