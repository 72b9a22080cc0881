"""The command line: parse, call the agent, print."""
