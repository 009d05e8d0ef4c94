"""Models: cards, tokenizers, chat templates, adapters, loading, and digests that identify them.

In: a card name, a folder, a Hub id, or a model in memory. Out: a loaded model, an attached adapter, or token ids of prompts.
"""
