"""abtest: the engine of scripts/ab. Each module is one idea; model.py holds the words they share."""
