"""The control plane: what compiles, loads, attaches and inspects; imports nothing above it."""
