"""The dream-agents command."""
