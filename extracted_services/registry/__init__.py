"""Registry: which instances of which services live, asked as Consul is asked. Knows no other service and no proxy."""
