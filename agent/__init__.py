"""The parts of the agent: what it has in a run, what it may, what it keeps in mind, and where it ends."""
