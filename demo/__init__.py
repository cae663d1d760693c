"""`make demo`: the sample shop behind fig under real traffic, one seam moved there, taken back and resumed."""
