"""The page of memory: bytes by method, and why they don't drop."""
