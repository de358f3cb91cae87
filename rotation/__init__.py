"""Key life: what becomes of the real keys at the venues. Serves no bot."""
