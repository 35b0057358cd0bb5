"""What the commands do: imported when one is called, because it needs all of Chainbell."""
