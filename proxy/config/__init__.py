"""From YAML to a validated, frozen model. Pure apart from reading the files; knows nothing of routing or of HTTP."""
