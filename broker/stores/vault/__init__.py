"""HashiCorp Vault as the secret store: KV v2 through hvac, which is imported nowhere else."""
