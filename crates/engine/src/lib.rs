//! Observe, plan, journal, apply, undo: the engine and its ports.
