"""How costs grow: measurements of this machine, and a simulated cluster."""
