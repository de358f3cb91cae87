"""Where secrets are kept: one protocol, several stores."""
