"""The command line: `unrollflow fit | validate | test | predict | label | estimate | import`, one module a command."""
