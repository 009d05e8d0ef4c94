"""Rules and what follows from them."""
