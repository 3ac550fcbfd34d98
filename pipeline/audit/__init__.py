"""The leak audit: the whole pipeline runs again on bars tampered with after an origin, compared stage by stage."""
