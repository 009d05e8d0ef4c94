"""The engine on transformers models, decoder-only and encoder-decoder."""
