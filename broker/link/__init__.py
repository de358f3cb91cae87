"""What gateway and broker say to each other, and the ways it travels."""
