"""Fuzzing of what reads strangers' bytes: the upstream's answers, skill files, clients' bodies.

`make fuzz` runs everything; a target is a function of bytes that raises where something does not hold.
"""
