"""The leak audit: the whole pipeline run again on bars that are other ones after an origin, compared stage by stage."""
