"""Networks computed by one engine after the other."""
