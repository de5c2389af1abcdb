"""Secrets that can be recognised: every key that the figures use. None of them may come out of the service."""

from __future__ import annotations

import hashlib

PROVIDER = "canary-7f3a9c5e1b2d4086-provider"
CLIENT = "canary-2d40867f3a9c5e1b-client"
ALL = (PROVIDER.encode(), CLIENT.encode())
ACCEPTED = f"bench:{hashlib.sha256(CLIENT.encode()).hexdigest()}"
"""For SKILL_AGENT_API_KEYS."""
