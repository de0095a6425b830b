"""What happens to an installation, as series, and what each alert makes of it."""

from __future__ import annotations

from tests.fakes.alerts import models, surroundings, work, workers

STORIES = (*work.STORIES, *models.STORIES, *workers.STORIES, *surroundings.STORIES)
