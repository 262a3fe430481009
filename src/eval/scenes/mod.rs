//! The scenes of the demo world: one to four flat shapes on a light background, captions after GenEval's six tasks, and a
//! judge that reads a picture exactly.
