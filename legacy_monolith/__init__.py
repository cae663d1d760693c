"""Corner Shop 2.3: the sample monolith that fig strangles. One app, one database file, modules that share tables."""
