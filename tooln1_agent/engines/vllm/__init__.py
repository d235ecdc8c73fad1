"""The engine that asks vLLM: token ids in, token ids and log-probs out."""
