"""Commands that pack corpora on disk into shards: python -m datamodules.prepare --help."""
