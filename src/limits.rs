//! Every bound in one place, each with its unit, its reason and what happens when it is passed.
//!
//! Invariant 6 of the design: memory per stream is bounded by a constant from this file, whatever
//! size a body has and however slow a client is.
