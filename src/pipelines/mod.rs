//! From a prompt to images, one scale at a time: the generators of the released models.

pub mod infinity;
