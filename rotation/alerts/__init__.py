"""What people have to hear of, found in the record and told by Apprise."""
