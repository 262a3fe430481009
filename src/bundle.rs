//! A bundle: the parts of one system (generator, text encoder, scorer, features) and their settings, loaded together.
