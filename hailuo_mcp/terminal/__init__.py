"""What a person at a terminal meets: the arguments of the commands, and what they print."""
