"""The command line: arguments and printing, nothing else. One file a command group."""
