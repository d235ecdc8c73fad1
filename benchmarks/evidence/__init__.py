"""What `benchmarks/learning.py` and `benchmarks/rounds.py` share: traffic, arms and measuring."""
