"""World models: what planners dream in."""
