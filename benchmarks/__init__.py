"""What the stack costs: plain Dramatiq against the full stack, in turn, on one server. `make bench`."""
