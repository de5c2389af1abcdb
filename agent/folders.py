"""The skills of the settings."""

from __future__ import annotations

from settings import Settings
from skill_store import SkillStore


def skill_store(settings: Settings) -> SkillStore:
    """In the folders that the settings name, as far as they are trusted and locked; none without the group of tools."""
    return SkillStore(*(settings.skills if "skills" in settings.tools else ()), lock=settings.skills_lock)
