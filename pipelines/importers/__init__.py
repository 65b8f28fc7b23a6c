"""Public and own logs turned into landing files."""
