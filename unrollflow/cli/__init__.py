"""The command line, `unrollflow COMMAND`: one module for each command, imported when the command runs."""
