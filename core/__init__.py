"""The nouns that the verbs share: config, data, model, heads, pipeline, checkpoint."""
