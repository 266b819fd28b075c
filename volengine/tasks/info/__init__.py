"""info: describe files, stores, models and tables of picks by names and values."""

from volengine.tasks.info.models import model_info
from volengine.tasks.info.verb import check, info

__all__ = ["check", "info", "model_info"]
