"""`python -m tooln1_agent.cli`, for where the command itself is not on the path."""

from tooln1_agent.cli.main import main

main()
