"""`python -m trainer`: the command `tooln1-agent retrain`, in the form that torchrun starts."""

import sys

from tooln1_agent.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "retrain")
    main()
