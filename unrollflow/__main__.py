"""`python -m unrollflow`: the same as the `unrollflow` command."""

from unrollflow.cli.main import main

if __name__ == "__main__":
    main()
