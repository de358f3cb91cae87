"""What speaks to the outside: exchanges, the paper exchange, the bot-side library."""
