"""Strangler Fig: a reverse proxy that moves a monolith's traffic to new services one seam at a time."""

__version__ = "0.1.0"
