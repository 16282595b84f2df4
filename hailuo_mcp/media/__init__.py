"""Picture and video files: what is in them, whether they are whole, and how others are made of them."""
