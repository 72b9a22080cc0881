"""Git: what a node fetches, and reads by object id. Each file is its own door: a poll opens few."""
