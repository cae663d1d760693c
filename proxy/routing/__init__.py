"""Which seam, which route, which side. Pure: no I/O, no clock, no await; it knows neither upstreams nor bodies."""
