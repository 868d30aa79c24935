"""Command line `unrollflow COMMAND`, with one module per command, imported when the command runs."""
