"""The command `fig`. Knows the admin port by its API only; nothing here is imported by a running proxy."""
