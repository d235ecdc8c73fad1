"""The seed model: a tiny tool-calling model trained from scratch on a generated world."""
