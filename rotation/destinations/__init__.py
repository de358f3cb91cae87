"""Where real keys lie outside gateways, and how each gets a new one."""
