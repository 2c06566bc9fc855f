"""What HTTP itself asks for: connections, streams, deadlines, errors, the document."""
