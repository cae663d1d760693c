"""What an operator sees of the traffic: access lines, error lines, trace and request ids. Decides nothing."""
