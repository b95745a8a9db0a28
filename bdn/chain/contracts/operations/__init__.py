"""What both engines do to values: check the arguments, charge gas, then work."""
