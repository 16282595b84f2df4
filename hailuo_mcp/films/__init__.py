"""Films: several shots, each a video of its own, judged together, carried on by themselves, joined into one file."""
