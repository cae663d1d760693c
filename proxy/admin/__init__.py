"""The admin port: what operators and `fig` ask of a running proxy. Knows no request of the data port."""
