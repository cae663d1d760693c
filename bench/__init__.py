"""fig beside other proxies: the same split, the same origin, one core each. `python -m bench` runs it all.

Outside the product: nothing in `proxy` imports it.
"""
