"""The terminal: the answer on stdout, everything else on stderr, and what a run's end means to a shell."""

OK, FAILED, USAGE, NOT_AUTHORISED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes."""
