"""Getting the server into an assistant, and finding out why it does not run there."""
