"""Commands that pack a corpus into shards or write sentences: python -m datamodules.prepare --help."""
