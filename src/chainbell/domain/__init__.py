"""Words that every room shares: only types that cross a border, and the error tree. Pure."""
