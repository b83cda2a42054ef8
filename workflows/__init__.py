"""State machines: their definitions, their validator, the engine that runs them, replay."""
